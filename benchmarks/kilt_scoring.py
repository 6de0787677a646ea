"""How much faster the scorer is than the official way, at equal figures; and its peak memory.

The baseline calls the `rouge` package as the official scorer does (a new `Rouge()` for each gold
answer, rouge-1, -2 and -l) and normalises both texts anew for each exact match and F1. It scores no
retrieval, so the official scorer is, if anything, slower. Ours is the whole of `score_files`.

    python -m benchmarks.kilt_scoring --folder ../shared/golden/kilt/eli5_400
"""

import argparse
import json
import platform
import re
import string
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rouge import Rouge

from eval.score_reports import score_report
from eval.scoring import score_files

ELI5_DEV_RECORDS = 1_507  # KILT, Table 3
MEMORY_SIZES = (400, ELI5_DEV_RECORDS, 6_028, 24_112)
# Records of the baseline between two runs of ours.
SLICE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("../shared/golden/kilt/eli5_400"))
    folder: Path = parser.parse_args().folder
    guess, gold = folder / "guess.jsonl", folder / "gold.jsonl"
    if not gold.is_file():
        sys.exit(f"{folder} holds no guess.jsonl and gold.jsonl; name such a folder with --folder")
    print(f"machine   {cpu()}, Python {platform.python_version()}")
    compare_with_baseline(guess, gold)
    with tempfile.TemporaryDirectory() as directory:
        time_dev_set(guess, gold, Path(directory))
        print_memory(guess, gold, Path(directory))


def compare_with_baseline(guess: Path, gold: Path) -> None:
    """Time both in turns, in processor seconds, so that a busy machine slows both alike."""
    answers = {record["id"]: str(record["output"][0]["answer"]).strip() for record in lines(guess)}
    records = lines(gold)
    sums = dict.fromkeys(("accuracy", "em", "f1", "rougel"), 0.0)
    slow, ours = 0.0, []
    for start in range(0, len(records), SLICE):
        ours.append(processor_seconds(lambda: score_files(guess, gold)))
        part = records[start : start + SLICE]
        slow += processor_seconds(partial(add_baseline, sums, part, answers))
    fast = median(ours)
    expected = {name: total / len(records) for name, total in sums.items()}
    equal = score_files(guess, gold)["downstream"] == expected
    print(f"records   {len(records)} ({gold})")
    print(f"baseline  {slow:8.3f} s {1000 * slow / len(records):8.2f} ms a record")
    print(
        f"ours      {fast:8.3f} s {1000 * fast / len(records):8.2f} ms a record"
        f"   (median of {len(ours)}, {min(ours):.3f} to {max(ours):.3f})"
    )
    print(f"ratio     {slow / fast:8.0f} x")
    print(f"figures   {'equal to the last bit' if equal else 'NOT EQUAL'}")


def time_dev_set(guess: Path, gold: Path, directory: Path) -> None:
    """Time as many records as KILT's ELI5 dev set has, the given ones repeated."""
    paths = repeated(guess, gold, ELI5_DEV_RECORDS, directory)
    official = seconds(lambda: score_files(*paths))
    whole = seconds(lambda: score_report(*paths, None, strict=False, google=True, seed=0))
    print(f"records   {ELI5_DEV_RECORDS} (the same, repeated)")
    print(f"official figures               {official:8.3f} s")
    print(f"with rouge-score and intervals {whole:8.3f} s")


def print_memory(guess: Path, gold: Path, directory: Path) -> None:
    """Peak resident memory of a process that scores ever larger files."""
    print("records    files, MiB    peak memory, MiB")
    for size in MEMORY_SIZES:
        paths = repeated(guess, gold, size, directory)
        mib = sum(path.stat().st_size for path in paths) / 2**20
        code = (
            "import sys; from pathlib import Path; from eval.scoring import score_files;"
            "score_files(Path(sys.argv[1]), Path(sys.argv[2]));"
            "print(open('/proc/self/status').read())"
        )
        command = [sys.executable, "-c", code, *map(str, paths)]
        status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        print(f"{size:7,} {mib:13.1f} {int(peak[1]) / 1024 if peak else 0:19.1f}")


def add_baseline(
    sums: dict[str, float], records: Iterable[dict[str, Any]], answers: dict[str, str]
) -> None:
    """Add the downstream figures of some records to the sums, the official way."""
    for record in records:
        answer = answers[record["id"]]
        texts = (output.get("answer") for output in record["output"])
        golds = {text.strip() for text in texts if text and text.strip()}
        if answer:
            sums["accuracy"] += answer in golds
            sums["em"] += max(words(answer) == words(text) for text in golds)
            sums["f1"] += max(f1(answer, text) for text in golds)
            sums["rougel"] += max(rouge_l(answer, text) for text in golds)


def rouge_l(answer: str, gold: str) -> float:
    try:
        figure: float = Rouge().get_scores(answer, gold, avg=True)["rouge-l"]["f"]
    except ValueError:
        return 0.0
    return figure


def f1(answer: str, gold: str) -> float:
    answer_words, gold_words = words(answer), words(gold)
    common = sum((Counter(answer_words) & Counter(gold_words)).values())
    if not common:
        return 0
    precision, recall = common / len(answer_words), common / len(gold_words)
    return (2 * precision * recall) / (precision + recall)


def words(text: str) -> list[str]:
    punctuation = set(string.punctuation)
    text = "".join(character for character in text.lower() if character not in punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def repeated(guess: Path, gold: Path, count: int, directory: Path) -> tuple[Path, Path]:
    """Write both files with their records repeated, under new ids, to `count` records."""
    guesses = {record["id"]: record for record in lines(guess)}
    golds = lines(gold)
    chosen = [golds[number % len(golds)] for number in range(count)]
    paths = directory / "guess.jsonl", directory / "gold.jsonl"
    write(paths[0], (guesses[record["id"]] for record in chosen))
    write(paths[1], chosen)
    return paths


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w") as file:
        file.writelines(
            json.dumps({**record, "id": f"r{number}"}) + "\n"
            for number, record in enumerate(records)
        )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def processor_seconds(action: Callable[[], object]) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin


def cpu() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    return f"{model[1] if model else platform.machine()}, {cores} cores"


if __name__ == "__main__":
    main()
