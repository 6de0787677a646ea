"""The evaluation's report in a real browser: alone, inert, readable on a phone and at night."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from eval.run_kilt import app
from tests.browser.replies import has_sideways_scroll
from tests.eval.files import hit, record_file, run_files

ATTACK = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
LONG_WORD = "salt" * 60
OpenReport = Callable[..., Page]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report over a run whose texts are as bad as texts can be."""
    texts = [f"Rivers{n} carry salt{n}. {ATTACK} {LONG_WORD}." for n in range(6)]
    golds = [
        {
            "id": str(n),
            "input": f"Why sea{n}? {ATTACK}",
            "output": [{"answer": text}, {"answer": "Rain"}],
        }
        for n, text in enumerate(texts)
    ]
    gold = record_file(tmp_path / "gold.jsonl", golds)
    true = run_files(tmp_path / "system.jsonl", [(text, [hit(ATTACK, text)]) for text in texts])
    random = run_files(
        tmp_path / "control.jsonl", [("Bees dance.", [hit("Bee", "Bees dance.")])] * 6
    )
    out = tmp_path / "report.html"
    arguments = ["report", str(true), str(random), "--gold", str(gold), "--random", str(random)]
    assert CliRunner().invoke(app, [*arguments, "--out", str(out)]).exit_code == 0
    return out


@pytest.fixture
def open_report(browser: Browser, report: Path) -> Iterator[OpenReport]:
    """Open the page from the disk; it may ask for nothing and complain of nothing."""
    noticed: list[str] = []

    def open_report(width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("request", lambda request: noticed.append(request.url))
        page.on("console", lambda message: noticed.append(message.text))
        page.on("pageerror", lambda error: noticed.append(str(error)))
        page.goto(report.as_uri())
        noticed.remove(report.as_uri())
        return page

    yield open_report
    for page in browser.contexts:
        page.close()
    assert noticed == []


def test_the_page_needs_nothing_and_runs_nothing(open_report: OpenReport) -> None:
    page = open_report()
    expect(page).to_have_title("Evaluation of system, control on gold.jsonl")
    expect(page.locator("script, img")).to_have_count(0)
    expect(page.locator("article h4").first).to_contain_text("<script>")


def test_contents_lead_to_every_part(open_report: OpenReport) -> None:
    page = open_report()
    links = page.get_by_role("navigation", name="Contents").get_by_role("link")
    expect(links).to_have_count(7)
    for link in links.all():
        link.click()
        part = page.locator(f"{link.get_attribute('href')} h2")
        expect(part).to_be_in_viewport()


def test_plots_are_drawn_in_the_colours_of_the_page(open_report: OpenReport) -> None:
    inks = []
    for scheme in ("light", "dark"):
        page = open_report(scheme=scheme)
        plots = page.locator("figure svg")
        expect(plots).to_have_count(4)
        label = plots.first.get_by_text("copy input")
        ink = label.evaluate("node => getComputedStyle(node).fill")
        assert ink == page.locator("body").evaluate("node => getComputedStyle(node).color")
        inks.append(ink)
    assert inks[0] != inks[1]


def test_no_two_elements_share_an_id(open_report: OpenReport) -> None:
    ids = open_report().evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", [360, 1280])
def test_no_width_scrolls_sideways(open_report: OpenReport, width: int) -> None:
    assert not has_sideways_scroll(open_report(width=width))


def test_evidence_stands_under_the_sentence_that_it_supports(open_report: OpenReport) -> None:
    card = open_report().get_by_role("article").first
    expect(card.locator(".supported").first).to_have_text(re.compile("Rivers0 carry salt0."))
    expect(card.locator(".evidence li").first).to_contain_text("Rivers0 carry salt0.")
