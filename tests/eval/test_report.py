"""Reports over runs: what they hold, what they say of it, and that no text of a run is markup."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from eval import report
from eval.published import KILT_PAPER, SYSTEMS
from eval.run_kilt import app
from eval.runs import details_path
from tests.eval.conftest import WriteRecords, WriteRun
from tests.eval.files import hit

NOTE = "derived data, not official KILT"
ATTACK = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
QUESTIONS = 8


def text(n: int) -> str:
    return f"Rivers{n} carry salt{n} to the sea. Winds{n} do not."


def write_gold(write_records: WriteRecords, **more: Any) -> Path:
    golds = [
        {
            "id": str(n),
            "input": f"Why is sea{n} salty?",
            "output": [{"answer": text(n)}, {"answer": f"Rain{n} takes it along."}],
            **more,
        }
        for n in range(QUESTIONS)
    ]
    return write_records("gold.jsonl", golds)


@pytest.fixture
def runs(write_run: WriteRun) -> tuple[Path, Path]:
    """A run, which is worse with every question, and its control."""
    true = [
        (" ".join([text(n), *["Not so."] * n]), [hit(f"Sea{n}", text(n))]) for n in range(QUESTIONS)
    ]
    random = [(f"Bees{n} dance.", [hit(f"Bee{n}", f"Bees{n} dance.")]) for n in range(QUESTIONS)]
    return write_run("system.jsonl", true), write_run("control.jsonl", random)


def run_report(tmp_path: Path, *arguments: object) -> Result:
    out = ["--out", str(tmp_path / "page.html")]
    return CliRunner().invoke(app, ["report", *map(str, arguments), *out])


def page_and_table(tmp_path: Path, *arguments: object) -> tuple[str, str]:
    result = run_report(tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    return tuple((tmp_path / f"page.{kind}").read_text() for kind in ("html", "md"))  # type: ignore[return-value]


class Tags(HTMLParser):
    """The names of all tags, and all addresses that they refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: set[str] = set()
        self.handlers: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            if name.endswith(("href", "src")):
                self.addresses.add(value or "")
            if name.startswith("on"):
                self.handlers.add(name)


def test_a_report_holds_scores_bounds_ablation_and_questions(
    tmp_path: Path, write_records: WriteRecords, runs: tuple[Path, Path]
) -> None:
    gold = write_gold(write_records)
    true, random = runs
    page, table = page_and_table(tmp_path, true, "--gold", gold, "--random", random)
    for part in (page, table):
        assert "The answers use what was retrieved" in part
        assert "copy input" in part
        assert NOTE not in part
    assert page.index("Why is sea0 salty?") < page.index("Why is sea7 salty?")
    assert page.count("<article") == 6
    assert "Rivers0 carry salt0 to the sea." in page
    assert page.count("<svg") == 4
    assert '<th scope="row">reader.seed</th><td>0</td>' in page


def test_every_published_row_stands_there_with_its_source(
    tmp_path: Path, write_records: WriteRecords, runs: tuple[Path, Path]
) -> None:
    page, table = page_and_table(tmp_path, runs[0], "--gold", write_gold(write_records))
    for row in SYSTEMS:
        line = next(
            line for line in table.splitlines() if f"| {row.system} | KILT {row.split}" in line
        )
        (number,) = re.findall(r"\[(\d)\]", line)
        assert f"{number}. {row.source}" in table
        assert f"{row.rougel:.2f}" in line
        assert f'<li id="source-{number}">{row.source}</li>' in page
    assert page.count(KILT_PAPER) == 1


def test_every_figure_over_derived_data_says_so(
    tmp_path: Path, write_records: WriteRecords, runs: tuple[Path, Path]
) -> None:
    gold = write_gold(write_records, meta={"source": "eli5-category"})
    true, random = runs
    page, table = page_and_table(tmp_path, true, "--gold", gold, "--random", random)
    captions = re.findall(r"<(?:fig)?caption>.*?</(?:fig)?caption>", page, re.DOTALL)
    assert len(captions) == 7
    assert all(NOTE in caption for caption in captions)
    assert "eli5-category (8)" in page
    titles = [line for line in table.splitlines() if line.startswith("#")]
    assert all(NOTE in title for title in titles)


def test_texts_of_a_run_are_no_markup(
    tmp_path: Path, write_records: WriteRecords, write_run: WriteRun
) -> None:
    golds = [
        {"id": "0", "input": f"Why? {ATTACK}", "output": [{"answer": f"Rivers | {ATTACK}"}]},
        {"id": "1", "input": "Why?", "output": [{"answer": "Winds."}]},
    ]
    answers = [
        (f"Rivers {ATTACK}. So.", [hit(ATTACK, f"Rivers {ATTACK}. So.")]),
        ("", [hit("T", "U")]),
    ]
    run = write_run("a$b$|<b>_c_.jsonl", answers)
    page, table = page_and_table(tmp_path, run, "--gold", write_records("gold.jsonl", golds))
    tags = Tags(page)
    assert not tags.names & {"script", "img", "iframe", "object", "b"}
    assert tags.handlers == set()
    assert all(address.startswith("#") or address == "data:," for address in tags.addresses)
    assert "&lt;script&gt;" in page
    assert r"a$b$\|\<b\>\_c\_" in table


def test_a_run_without_details_is_reported_without_support(
    tmp_path: Path, write_records: WriteRecords
) -> None:
    guesses = [{"id": str(n), "output": [{"answer": text(n)}]} for n in range(QUESTIONS)]
    bare = write_records("bare.jsonl", guesses)
    page, _ = page_and_table(tmp_path, bare, "--gold", write_gold(write_records))
    assert "Not grounded." in page
    assert page.count("<svg") == 2


def test_support_in_part_is_shown_with_its_evidence_and_counts_as_none(
    tmp_path: Path, write_records: WriteRecords, write_run: WriteRun
) -> None:
    run = write_run("system.jsonl", [(text(n), [hit(f"Sea{n}", text(n))]) for n in range(2)])
    details = details_path(run)
    details.write_text(details.read_text().replace('"supported"', '"partly"', 1))
    gold = [{"id": str(n), "input": "Why?", "output": [{"answer": text(n)}]} for n in range(2)]
    page, _ = page_and_table(tmp_path, run, "--gold", write_records("gold.jsonl", gold))
    assert '<span class="partly">Rivers0 carry salt0 to the sea.</span><sup>1 in part</sup>' in page
    assert "<cite>Sea0</cite> Rivers0 carry salt0 to the sea." in page
    assert page.count('<span class="supported">') == 3
    assert "support 3 of 4 sentences" in page


def test_runs_stand_side_by_side_under_names_that_differ(
    tmp_path: Path, write_records: WriteRecords, runs: tuple[Path, Path]
) -> None:
    result = run_report(tmp_path, *runs, "--gold", write_gold(write_records), "--json")
    found = json.loads(result.stdout)
    assert [run["name"] for run in found["runs"]] == ["system", "control"]
    assert found["runs"][0]["scores"]["official"]["downstream"]["rougel"] > 0.5
    assert found["runs"][1]["supported_shares"] == [1.0] * QUESTIONS
    twice = run_report(tmp_path, runs[0], runs[0], "--gold", tmp_path / "gold.jsonl", "--json")
    names = {run["name"] for run in json.loads(twice.stdout)["runs"]}
    assert names == {str(runs[0])}


def test_equal_input_gives_equal_bytes(
    tmp_path: Path, write_records: WriteRecords, runs: tuple[Path, Path]
) -> None:
    gold = write_gold(write_records)
    assert page_and_table(tmp_path, *runs, "--gold", gold) == page_and_table(
        tmp_path, *runs, "--gold", gold
    )


def test_wrong_input_is_one_line_and_an_exit_code(
    tmp_path: Path,
    write_records: WriteRecords,
    runs: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gold, true = write_gold(write_records), runs[0]
    many = run_report(tmp_path, true, "--gold", gold, "--random", true, "--random", true)
    assert (many.exit_code, many.stderr.count("\n")) == (2, 1)
    assert run_report(tmp_path, "nowhere.jsonl", "--gold", gold).exit_code == 2
    assert run_report(tmp_path, true).exit_code == 2
    as_table = CliRunner().invoke(
        app, ["report", str(true), "--gold", str(gold), "--out", str(tmp_path / "page.md")]
    )
    assert (as_table.exit_code, as_table.stderr.count("\n")) == (1, 1)
    monkeypatch.setattr(report, "_PACKAGES", ("a_package_that_is_not_there",))
    without = run_report(tmp_path, true, "--gold", gold)
    assert without.exit_code == 1
    assert "pip install 'rag-rt[report]'" in without.stderr
