"""Reading and joining: what the official scorer reads, and refusals that say where and what."""

import json
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import (
    BadGold,
    BadGuess,
    BadId,
    BadRecord,
    MissingGuess,
    NotARecord,
    UnreadableFile,
)
from eval.interpretation import read_gold, read_guess, read_ranking
from eval.records import AlignedFiles, Record, RecordFile
from eval.scoring import score_files
from tests.eval.conftest import WriteRecords


def read(path: Path, content: bytes) -> list[Record]:
    path.write_bytes(content)
    return read_file(path)


def read_file(path: Path) -> list[Record]:
    with closing(RecordFile(path)) as file:
        return list(file)


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


@given(
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1, max_size=8),
    text=st.text(alphabet="a\u2028\u2029\u0085\u00e9\U0001f600", max_size=4),
    final=st.booleans(),
)
def test_lines_end_at_lf_crlf_and_cr_alone(
    tmp_path_factory: pytest.TempPathFactory, ends: list[bytes], text: str, final: bool
) -> None:
    lines = [
        json.dumps({"id": n, "t": text}, ensure_ascii=False).encode() for n in range(len(ends))
    ]
    content = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    if not final:
        content = content[: -len(ends[-1])]
    records = read(tmp_path_factory.mktemp("lines") / "guess.jsonl", content)
    assert ids(records) == [str(n) for n in range(len(ends))]
    assert [record.data["t"] for record in records] == [text] * len(ends)
    assert [record.line for record in records] == list(range(1, len(ends) + 1))


def test_a_file_without_lines_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path / "guess.jsonl", b"") == []


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b'{"id": 1}\n\n{"id": 2}\n', 2, "empty"),
        (b'{"id": 1}\r\r{"id": 2}', 2, "empty"),
        (b'{"id": 1}\n  \n', 2, "empty"),
        (b'\xef\xbb\xbf{"id": 1}\n', 1, "byte order mark"),
        (b'{"id": 1}\n\xff\n', 2, "not UTF-8"),
        (b'[{"id": 1},\n{"id": 2}]\n', 1, "not JSON"),
        (b'{"id": 1} {"id": 2}\n', 1, "not JSON"),
        (b"5\n", 1, "found a JSON number"),
        (b"[]\n", 1, "found a JSON array"),
        (b"[" * 100_000 + b"\n", 1, "cannot be parsed"),
        (b'{"id": ' + b"9" * 5000 + b"}\n", 1, "cannot be parsed"),
    ],
)
def test_what_is_no_record_is_refused(
    tmp_path: Path, content: bytes, line: int, problem: str
) -> None:
    with pytest.raises(NotARecord, match=problem) as refusal:
        read(tmp_path / "guess.jsonl", content)
    assert refusal.value.line == line
    assert f"guess.jsonl, line {line}: " in str(refusal.value)


def test_a_record_needs_an_id(tmp_path: Path) -> None:
    with pytest.raises(BadId, match=r"guess\.jsonl, line 1: .* no 'id'"):
        read(tmp_path / "guess.jsonl", b'{"ID": 5}\n')


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "directory"])
def test_what_cannot_be_opened_is_refused(tmp_path: Path, missing: bool) -> None:
    path = tmp_path / "nothing" if missing else tmp_path
    with pytest.raises(UnreadableFile, match="check the path"):
        RecordFile(path)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b'{"id": 1}\r\n{"id": 2}',))
    writer.start()
    assert ids(read_file(path)) == ["1", "2"]
    writer.join()


def test_pairs_come_in_gold_order_and_ids_are_compared_as_stripped_text(
    write_records: WriteRecords,
) -> None:
    guess = write_records("guess.jsonl", [{"id": 3}, {"id": " b\n"}, {"id": "x"}, {"id": None}])
    gold = write_records("gold.jsonl", [{"id": "None"}, {"id": "b"}, {"id": "3 "}])
    with AlignedFiles(guess, gold) as files:
        pairs = [(guess.line, gold.line) for guess, gold in files]
        assert pairs == [(4, 1), (2, 2), (1, 3)]
        assert ids(list(files.extra_guesses())) == ["x"]


@pytest.mark.parametrize("twice", ["guess", "gold"])
def test_an_id_stands_once(write_records: WriteRecords, twice: str) -> None:
    records = {name: [{"id": "5"}, {"id": "6"}] for name in ("guess", "gold")}
    records[twice].append({"id": " 5"})
    with pytest.raises(BadId, match=rf"{twice}\.jsonl, line 3, record '5': .*earlier line"):
        AlignedFiles(*(write_records(f"{name}.jsonl", records[name]) for name in records))


def test_the_first_gold_record_without_a_guess_is_named(write_records: WriteRecords) -> None:
    guess = write_records("guess.jsonl", [{"id": "b"}])
    gold = write_records("gold.jsonl", [{"id": "b"}, {"id": "z"}, {"id": "a"}])
    with pytest.raises(MissingGuess, match=r"line 2, record 'z': .*missing in all: 2 of 3"):
        AlignedFiles(guess, gold)


def record(**data: Any) -> Record:
    return Record(Path("file.jsonl"), 7, "q", {"id": "q", **data})


@pytest.mark.parametrize(
    "output",
    [
        None,
        "text",
        {},
        [],
        [{}],
        [{"answer": "a"}, {"answer": "b"}],
        [["answer"]],
        [{"answer": "a", "provenance": None}],
        [{"answer": "a", "provenance": 0}],
        [{"answer": "a", "provenance": [None]}],
        [{"answer": "a", "provenance": ["wikipedia_id"]}],
    ],
)
def test_a_guess_needs_one_answer_and_sound_provenance(output: Any) -> None:
    with pytest.raises(BadGuess, match=r"file\.jsonl, line 7, record 'q': "):
        read_guess(record(output=output))


def test_a_guess_needs_output() -> None:
    with pytest.raises(BadGuess, match="'output' must be a list of objects; found nothing"):
        read_guess(record())


@pytest.mark.parametrize("provenance", ["", {}, []])
def test_empty_provenance_of_another_type_is_an_empty_list(provenance: Any) -> None:
    guess = read_guess(record(output=[{"answer": None, "provenance": provenance}]))
    assert guess.answer == "None"
    assert guess.ranking.pages == ()


@pytest.mark.parametrize(
    "output", [[{"answer": "a"}], [{"provenance": []}, {"provenance": []}], [{"provenance": None}]]
)
def test_a_ranking_needs_one_output_with_sound_provenance(output: Any) -> None:
    with pytest.raises(BadGuess, match="line 7"):
        read_ranking(record(output=output))


@pytest.mark.parametrize(
    "data",
    [
        {"output": [{"answer": "a"}]},
        {"input": None, "output": [{"answer": "a"}]},
        {"input": "q"},
        {"input": "q", "output": []},
        {"input": "q", "output": [{"answer": 5}]},
        {"input": "q", "output": [{"answer": ["a"]}]},
        {"input": "q", "output": [{"provenance": [{"title": 5}]}]},
        {"input": "q", "output": [{"provenance": None}]},
        {"input": "q", "output": ["answer"]},
    ],
)
def test_a_gold_record_needs_question_and_sound_outputs(data: dict[str, Any]) -> None:
    with pytest.raises(BadGold, match=r"file\.jsonl, line 7, record 'q': "):
        read_gold(record(**data))


def test_gold_answers_are_stripped_and_collapse() -> None:
    answers = [" a", "a ", "", "  ", None, 0, "b"]
    gold = read_gold(record(input="q", output=[{"answer": answer} for answer in answers]))
    assert gold.answers == ("a", "b")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "input", "output", "answer", "provenance", "wikipedia_id", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(guesses=st.lists(JSON_VALUES, max_size=2), golds=st.lists(JSON_VALUES, max_size=2))
def test_whatever_the_lines_hold_the_answer_is_figures_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, guesses: list[Any], golds: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    paths = [folder / "guess.jsonl", folder / "gold.jsonl"]
    for path, values in zip(paths, (guesses, golds), strict=True):
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
    try:
        figures = score_files(*paths)
    except BadRecord as refusal:
        message = str(refusal)
    else:
        message = f"{folder}: {sorted(figures)}"
    assert message.startswith(str(folder))
