"""Totals, what passes silently, and what it takes to score at all."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from eval.errors import BadGold, BadGuess, StrictRefusal
from eval.records import AlignedFiles
from eval.remarks import Oddity
from eval.scoring import OFFICIAL_METRICS, Scorer, score_files
from tests.eval.conftest import WriteRecords

TIES = Path(__file__).parents[1] / "golden" / "kilt" / "ties"
GENUINE = Path(__file__).parents[3] / "shared" / "data" / "kilt-sample" / "nq-dev-kilt.jsonl"
PAGE = {"wikipedia_id": "1", "title": "T"}


def guess(answer: Any = "a", record_id: Any = "q", **output: Any) -> dict[str, Any]:
    return {"id": record_id, "output": [{"answer": answer, **output}]}


def gold(*outputs: dict[str, Any], record_id: Any = "q", **data: Any) -> dict[str, Any]:
    return {"id": record_id, "input": "?", "output": list(outputs) or [{"answer": "a"}], **data}


def scored(
    write_records: WriteRecords, guesses: list[Any], golds: list[Any], *, strict: bool = False
) -> Scorer:
    paths = write_records("guess.jsonl", guesses), write_records("gold.jsonl", golds)
    with AlignedFiles(*paths) as files:
        scorer = Scorer(files, strict=strict)
        for _ in scorer:
            pass
        return scorer


def test_the_order_of_guesses_does_not_matter(tmp_path: Path) -> None:
    lines = (TIES / "guess.jsonl").read_text().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    shuffled = tmp_path / "guess.jsonl"
    shuffled.write_text("".join(lines))
    expected = json.loads((TIES / "expected.json").read_text())
    assert score_files(shuffled, TIES / "gold.jsonl") == expected


def test_sums_run_from_left_to_right(write_records: WriteRecords) -> None:
    answers = ["a b c", "a b", "a", "a b c d e f g", "a x y z"] * 40
    golds = [gold({"answer": "a b c d e"}, record_id=n) for n in range(len(answers))]
    guesses = [guess(answer, n) for n, answer in enumerate(answers)]
    paths = write_records("guess.jsonl", guesses), write_records("gold.jsonl", golds)
    with AlignedFiles(*paths) as files:
        scorer = Scorer(files)
        total: float = 0
        for record in scorer:
            total += record.score.rougel
    assert scorer.official()["downstream"]["rougel"] == total / len(answers)


def test_only_records_with_a_complete_top_count_in_the_kilt_figures(
    write_records: WriteRecords,
) -> None:
    found = gold({"answer": "a", "provenance": [PAGE]}, record_id=1)
    lost = gold({"answer": "a", "provenance": [{"wikipedia_id": "2"}]}, record_id=2)
    empty = gold({"answer": "a", "provenance": [PAGE]}, record_id=3)
    guesses = [guess("" if n == 3 else "a", n, provenance=[PAGE]) for n in (1, 2, 3)]
    scorer = scored(write_records, guesses, [found, lost, empty])
    figures = scorer.official()
    assert figures["downstream"]["accuracy"] == 2 / 3
    assert figures["kilt"]["KILT-accuracy"] == 1 / 3
    assert figures["retrieval"] == {"Rprec": 2 / 3, "recall@5": 2 / 3}
    assert scorer.counts == {"records": 3, "empty_guesses": 1, "kilt_counted": 1}


def test_a_records_figures_are_what_it_adds_to_the_official_ones() -> None:
    with AlignedFiles(TIES / "guess.jsonl", TIES / "gold.jsonl") as files:
        scorer = Scorer(files)
        rows = [record.score.official() for record in scorer]
    official = {name: value for part in scorer.official().values() for name, value in part.items()}
    for name, column in zip(OFFICIAL_METRICS, zip(*rows, strict=True), strict=True):
        assert sum(column) / len(rows) == official[name]


def test_an_answer_without_gold_answers_is_refused_and_an_empty_one_is_not(
    write_records: WriteRecords,
) -> None:
    nothing = [gold({"provenance": [PAGE]})]
    with pytest.raises(BadGold, match=r"gold\.jsonl, line 1, record 'q': no output has an answer"):
        scored(write_records, [guess("a")], nothing)
    assert scored(write_records, [guess(" ")], nothing).official()["downstream"]["f1"] == 0


def test_a_text_that_is_no_string_is_refused_where_the_official_scorer_reads_it(
    write_records: WriteRecords,
) -> None:
    golds = [gold({"answer": "a b", "provenance": [PAGE]})]
    both, bad = {**PAGE, "text": "t a b"}, {**PAGE, "text": None}
    with pytest.raises(BadGuess, match=r"guess\.jsonl, line 1, record 'q': the 'text' of .* 2"):
        scored(write_records, [guess(provenance=[PAGE, bad, both])], golds)
    scored(write_records, [guess(provenance=[both, bad])], golds)
    scored(write_records, [guess(provenance=[PAGE] * 5 + [bad])], golds)


ODDITIES: list[tuple[Oddity, dict[str, Any], dict[str, Any]]] = [
    (Oddity.ID_NOT_STRING, guess(record_id=5), gold(record_id="5")),
    (Oddity.ID_NOT_STRING, guess(record_id="5"), gold(record_id=5)),
    (Oddity.ID_PADDED, guess(record_id=" q"), gold()),
    (Oddity.ID_PADDED, guess(), gold(record_id="q\n")),
    (Oddity.ANSWER_NOT_STRING, guess(None), gold()),
    (Oddity.ANSWER_NOT_STRING, guess(["a"]), gold()),
    (Oddity.ANSWER_EMPTY, guess(" "), gold()),
    (Oddity.PROVENANCE_NOT_LIST, guess(provenance=""), gold()),
    (Oddity.PAGE_MISSING, guess(provenance=[{"title": "T"}]), gold()),
    (Oddity.PAGE_MISSING, guess(), gold({"answer": "a", "provenance": [{"title": "T"}]})),
    (Oddity.PAGE_NOT_STRING, guess(provenance=[{"wikipedia_id": None}]), gold()),
    (Oddity.PAGE_NOT_STRING, guess(), gold({"answer": "a", "provenance": [{"wikipedia_id": 1}]})),
    (Oddity.PAGE_EMPTY, guess(provenance=[{"wikipedia_id": " "}]), gold()),
    (Oddity.GOLD_ANSWER_EMPTY, guess(), gold({"answer": "a"}, {"answer": " "})),
    (Oddity.GOLD_ANSWER_EMPTY, guess(), gold({"answer": "a"}, {"answer": None})),
    (Oddity.GOLD_ANSWER_MISSING, guess(""), gold({"provenance": [PAGE]})),
    (Oddity.GOLD_EVIDENCE_EMPTY, guess(), gold({"answer": "a", "provenance": []})),
]


@pytest.mark.parametrize(
    ("oddity", "odd_guess", "odd_gold"), ODDITIES, ids=[row[0].name for row in ODDITIES]
)
def test_what_passes_silently_is_warned_of_and_refused_under_strict(
    write_records: WriteRecords, oddity: Oddity, odd_guess: Any, odd_gold: Any
) -> None:
    findings = scored(write_records, [odd_guess], [odd_gold]).remarks.findings
    assert oddity in [finding.oddity for finding in findings]
    with pytest.raises(StrictRefusal, match=r"line 1, record .*without --strict"):
        scored(write_records, [odd_guess], [odd_gold], strict=True)


def test_a_guess_for_no_question_is_warned_of_and_refused_under_strict(
    write_records: WriteRecords,
) -> None:
    guesses = [guess(), guess("a", "x"), guess("a", "y")]
    (finding,) = scored(write_records, guesses, [gold()]).remarks.findings
    assert finding.oddity is Oddity.EXTRA_GUESS
    assert "line 2, record 'x'" in str(finding)
    assert str(finding).endswith("(and 1 more)")
    with pytest.raises(StrictRefusal, match=r"guess\.jsonl, line 2, record 'x'"):
        scored(write_records, guesses, [gold()], strict=True)


def test_what_changes_no_figure_passes_strict(write_records: WriteRecords) -> None:
    golds = [gold({"answer": "a"}, {"answer": "a "}, {"provenance": [PAGE, PAGE]})]
    guesses = [guess(provenance=[PAGE, PAGE])]
    assert scored(write_records, guesses, golds, strict=True).remarks.findings == ()


@pytest.mark.skipif(not GENUINE.is_file(), reason="../shared/data/kilt-sample is not here")
def test_genuine_kilt_records_pass_strict_and_are_not_called_derived(
    write_records: WriteRecords,
) -> None:
    golds = [json.loads(line) for line in GENUINE.read_text().splitlines()]
    guesses = [{"id": record["id"], "output": record["output"][:1]} for record in golds]
    scorer = scored(write_records, guesses, golds, strict=True)
    assert scorer.official()["downstream"]["accuracy"] == 1
    assert not scorer.remarks.derived_sources


def test_sources_of_derived_records_are_counted(write_records: WriteRecords) -> None:
    metas: list[Any] = [{"source": "nq-complex"}, {"source": "nq-complex"}, {"source": 7}]
    metas += [None, {}, {"source": None}, "source"]
    golds = [gold(record_id=n, meta=meta) for n, meta in enumerate(metas)]
    guesses = [guess(record_id=n) for n in range(len(metas))]
    scorer = scored(write_records, guesses, golds)
    assert scorer.remarks.derived_sources == {"nq-complex": 2, "7": 1}


def test_memory_does_not_grow_with_the_texts(write_records: WriteRecords) -> None:
    def peak(count: int) -> int:
        text = "x" * 6_000
        guesses = write_records("guess.jsonl", (guess(text, str(n)) for n in range(count)))
        golds = (gold({"answer": text}, record_id=str(n)) for n in range(count))
        paths = guesses, write_records("gold.jsonl", golds)
        tracemalloc.start()
        try:
            score_files(*paths)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    growth_per_record = (peak(400) - peak(100)) / 300
    assert growth_per_record < 300  # bytes, where a record has 6,000
