"""Page figures against the official ones, and what passages hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.answer_metrics import normalised
from eval.interpretation import read_gold, read_guess
from eval.page_metrics import ContextDepths, PassageTextNotString, context_depths
from eval.records import Record
from eval.scoring import score_record

PAGES = Path(__file__).parents[1] / "golden" / "kilt" / "pages.jsonl"
CASES = [json.loads(line) for line in PAGES.read_text().splitlines()]


def output(provenance: list[Any] | None) -> dict[str, Any]:
    return {} if provenance is None else {"provenance": provenance}


@pytest.mark.parametrize("case", CASES, ids=[f"p{number:03}" for number in range(len(CASES))])
def test_official_page_figures(case: dict[str, Any]) -> None:
    guess = {"id": 1, "output": [{"answer": "", **output(case["guess"])}]}
    gold = {"id": 1, "input": "", "output": [output(entries) for entries in case["gold"]]}
    figures = score_record(
        1,
        read_guess(Record(Path("guess"), 1, "1", guess)),
        read_gold(Record(Path("gold"), 1, "1", gold)),
    ).as_json()
    names = ("rprec", "recall@5", "success_rate@5", "precision@1", "precision@5")
    assert [repr(figures[name]) for name in names] == [repr(case[name]) for name in names]


def depths(*texts: Any) -> ContextDepths:
    passages = [{} if text is None else {"text": text} for text in texts]
    return context_depths(passages, ["an answer"], ["The Title"], normalised)


def test_depths_count_passages_without_text_too() -> None:
    assert depths(None, "No Answer!", "title", "title: answer") == ContextDepths(2, 3, 4)
    assert depths(None, None) == ContextDepths()


def test_an_answer_that_normalises_to_nothing_is_everywhere() -> None:
    found = context_depths([{"text": "x"}], ["the"], [], normalised)
    assert found == ContextDepths(answer=1)


def test_a_text_that_is_no_string_matters_only_until_both_are_met() -> None:
    assert depths("title answer", 5) == ContextDepths(1, 1, 1)
    with pytest.raises(PassageTextNotString, match="entry 3"):
        depths("title", "answer", 5, "title answer")
