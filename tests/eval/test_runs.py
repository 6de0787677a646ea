"""What a run keeps beside its guesses, written and read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import BadDetails
from eval.runs import Details, details_path, read_run, write_details
from rag_rt.answers import Claim, Evidence, FinishReason, Sentence, Support, Timings, Usage
from tests.conftest import make_hit

HIT = make_hit("Rivers carry salt.\u2028So do winds.", title="Salt")
EVIDENCE = Evidence(HIT.passage.id, 0, 18, "Rivers carry salt.", 0.9)
CLAIM = Claim(0, 2, Support.SUPPORTED, (EVIDENCE,), 0.75)
FULL = Details(
    "1",
    (HIT,),
    (
        Sentence(0, 5, Support.SUPPORTED, (EVIDENCE,)),  # recorded before there were probabilities
        Sentence(0, 5, Support.PARTLY, (EVIDENCE,), 0.5, (CLAIM, CLAIM)),
        Sentence(6, 9, Support.UNSUPPORTED, ()),
    ),
    Usage(10, 20, FinishReason.LENGTH),
    Timings(0.1, 0.2, 0.3, 0.4, 1.0),
)
CLOSED_BOOK = Details("2", ())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    guess = tmp_path / "guess.jsonl"
    write_details(details_path(guess), {"k": 8}, [FULL.as_json(), CLOSED_BOOK.as_json()])
    run = read_run(guess)
    assert run.settings == {"k": 8}
    assert run.details == {"1": FULL, "2": CLOSED_BOOK}
    assert [path.name for path in tmp_path.iterdir()] == ["guess.details.jsonl"]


# Ids and texts out of JSON may hold lone surrogates.
ANY_TEXT = st.text(st.characters())


@given(text=ANY_TEXT, title=ANY_TEXT)
def test_any_text_comes_back_as_it_was(
    text: str, title: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    guess = tmp_path_factory.getbasetemp() / "any.jsonl"
    details = Details(title, (make_hit(text, title=title),))
    write_details(details_path(guess), {}, [details.as_json()])
    assert read_run(guess).details == {title: details}


def test_details_stand_beside_a_guess_file_of_any_name() -> None:
    assert details_path(Path("runs/p0.6")) == Path("runs/p0.6.details.jsonl")


def test_a_guess_file_without_details_is_a_run_too(tmp_path: Path) -> None:
    assert read_run(tmp_path / "guess.jsonl").details == {}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "line 1"),
        ("[]", "line 1"),
        ('{"format": "rag-rt run details", "version": 2, "settings": {}}', "version 1"),
        ('{"format": "rag-rt run details", "version": 1, "settings": {}}\n{"id": 1}', "line 2"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, content: str, where: str) -> None:
    guess = tmp_path / "guess.jsonl"
    details_path(guess).write_text(content)
    with pytest.raises(BadDetails, match=where):
        read_run(guess)
