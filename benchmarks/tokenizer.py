"""How fast the tokenizer reads 100 MB of prose, beside a plain greedy longest-match loop.

The loop is the official procedure (SPEC §8) run by run, with nothing remembered. It reads a sample
of about 20 seconds, on which both must give the same ids; its time for the whole text is scaled by
characters. Each way runs in a process of its own, in processor seconds. A text of distinct articles
needs the data beside the checkout; without it the starter corpus is repeated.

    python -m benchmarks.tokenizer
"""

import argparse
import json
import lzma
import re
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path

from benchmarks.conversion import cost_of, gigabytes
from benchmarks.machine import machine
from rag_rt.models.routing_transformer import RoutingTransformerTokenizer
from rag_rt.models.routing_transformer.subwords import read_subwords
from retriever.sources import open_source

SHARED = Path("../shared")
VOCABULARY = SHARED / "golden/routing_transformer/tokenizer/vocab.pg19_length8k.32768.subwords"
WIKIPEDIA = SHARED / "data/wikipedia"
TEXT_BYTES = 100_000_000
SAMPLE_SECONDS = 20
TRIAL_CHARACTERS = 300_000
LONGEST_SUBTOKEN = 199  # SPEC §8
WAYS = {
    "plain": "plain loop, scaled from {characters:,} characters",
    "encoder": "SubwordEncoder.encode(text)",
    "tokenizer": "tokenizer(text)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role is not None:
        text, vocabulary = arguments.folder / "text", arguments.folder / "vocabulary"
        print(json.dumps(measured(arguments.role, text.read_bytes().decode(), vocabulary)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder))


def compare(folder: Path) -> None:
    """Write the text, read it in all ways and print what each took."""
    print(f"machine     {machine()}", flush=True)
    text, origin = prose()
    (folder / "text").write_bytes(text.encode())
    megabytes = len(text.encode()) / 1e6
    print(f"text        {megabytes:.1f} MB, {len(text):,} characters, {origin}")
    (folder / "vocabulary").write_bytes(vocabulary_file(text))
    subtokens = len(read_subwords((folder / "vocabulary").read_bytes().decode()))
    named = "the published one" if VOCABULARY.is_file() else "made of the text's commonest runs"
    print(f"vocabulary  {subtokens:,} subtokens, {named}")
    print(f"{'':48}  seconds  MB/s  times  peak memory, GB", flush=True)
    slowest = 0.0
    del text
    for way, title in WAYS.items():
        command = (sys.executable, "-m", "benchmarks.tokenizer")
        cost = cost_of((*command, "--role", way, "--folder", str(folder)))
        facts = json.loads(cost.output)
        seconds = facts["seconds"] * facts["all"] / facts["characters"]
        slowest = slowest or seconds
        print(
            f"{title.format(**facts):48}  {seconds:7.1f} {megabytes / seconds:5.2f} "
            f"{slowest / seconds:6.1f} {gigabytes(cost.peak):16.2f}",
            flush=True,
        )
    print("ids of the sample: equal")


def measured(way: str, text: str, vocabulary: Path) -> dict[str, float]:
    """Processor seconds for so many characters of the text; `all` are all of it."""
    tokenizer = RoutingTransformerTokenizer(str(vocabulary))
    subtokens = read_subwords(vocabulary.read_bytes().decode())
    characters = len(text)
    if way == "plain":
        greedy = GreedyLoop(subtokens)
        begin = time.process_time()
        greedy.encode(text[:TRIAL_CHARACTERS])
        trial = time.process_time() - begin
        sample = text[: int(TRIAL_CHARACTERS * SAMPLE_SECONDS / trial)]
        characters = len(sample)
        begin = time.process_time()
        ids = greedy.encode(sample)
        seconds = time.process_time() - begin
        assert ids == tokenizer(sample)["input_ids"]
    elif way == "encoder":
        begin = time.process_time()
        tokenizer._encoder.encode(text)
        seconds = time.process_time() - begin
    else:
        begin = time.process_time()
        tokenizer(text, verbose=False)  # longer than any model reads, which is no news here
        seconds = time.process_time() - begin
    return {"seconds": seconds, "characters": characters, "all": len(text)}


class GreedyLoop:
    """The official procedure, as SPEC §8 writes it down."""

    def __init__(self, subtokens: list[str]) -> None:
        self.ids = {subtoken: number for number, subtoken in enumerate(subtokens)}
        self.alphabet = set("".join(subtokens)) | set("\\_u;0123456789")

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        runs = ["".join(run) for _, run in groupby(text, str.isalnum)]
        last = len(runs) - 1
        ids: list[int] = []
        for i, run in enumerate(runs):
            if run != " " or i in (0, last):
                ids += self._longest_matches(self._escaped(run))
        return ids

    def _escaped(self, run: str) -> str:
        run = run.replace("\\", "\\\\").replace("_", "\\u")
        return "".join(c if c in self.alphabet and c != "\n" else f"\\{ord(c)};" for c in run) + "_"

    def _longest_matches(self, escaped: str) -> Iterator[int]:
        start = 0
        while start < len(escaped):
            end = min(start + LONGEST_SUBTOKEN, len(escaped))
            while escaped[start:end] not in self.ids:
                end -= 1
            yield self.ids[escaped[start:end]]
            start = end


def prose() -> tuple[str, str]:
    """100 MB of text, and where it is from."""
    if WIKIPEDIA.is_dir():
        return joined(distinct_articles()), "distinct articles of Wikipedia"
    pages = [page.text for page in open_source("starter").pages()]
    times = TEXT_BYTES // sum(len(page) for page in pages) + 1
    return joined(chain.from_iterable([pages] * times)), f"the starter corpus {times} times over"


def distinct_articles() -> Iterator[str]:
    """Articles of the KILT sample, then those of the extracted pages with other titles."""
    seen = set()
    with lzma.open(WIKIPEDIA / "mini_kilt_knowledgesource.jsonl.xz") as lines:
        for line in lines:
            page = json.loads(line)
            seen.add(page["wikipedia_title"])
            yield "".join(page["text"])
    article = re.compile(r'<doc [^\n]*title="([^"]*)">\n(.*?)</doc>', re.DOTALL)
    with tarfile.open(WIKIPEDIA / "enwiki-30k-wikiextractor.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            for title, text in article.findall(file.read().decode()) if file else ():
                if title not in seen:
                    seen.add(title)
                    yield text


def joined(articles: Iterator[str]) -> str:
    parts: list[str] = []
    size = 0
    for text in articles:
        parts.append(text)
        size += len(text.encode()) + 1
        if size >= TEXT_BYTES:
            break
    return "\n".join(parts)


def vocabulary_file(text: str) -> bytes:
    if VOCABULARY.is_file():
        return VOCABULARY.read_bytes()
    common = Counter(re.findall(r"[^\W_]+", text)).most_common(90_000)
    characters = sorted({*"\\u;0123456789", *text[:TRIAL_CHARACTERS]} - {"\n", "_"})
    subtokens = ["<pad>_", "<EOS>_", *(f"{run}_" for run, _ in common), "_", *characters]
    return "".join(f"'{subtoken}'\n" for subtoken in dict.fromkeys(subtokens)).encode()


if __name__ == "__main__":
    main()
