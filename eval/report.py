"""Reports over runs: gathered, drawn and written."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from eval.errors import ExtraMissing, OutputNotWritten
from eval.report_data import ReportData, gather
from eval.report_markdown import markdown
from eval.score_reports import written_whole
from retriever.encoders import Progress

_PACKAGES = ("jinja2", "matplotlib")


def write_report(
    guesses: Sequence[Path],
    gold: Path,
    randoms: Sequence[Path],
    train: Path | None,
    out: Path,
    *,
    seed: int,
    progress: Progress,
) -> ReportData:
    """Write the page to `out`, and its Markdown table beside it, under the suffix `.md`.

    The other arguments, and what else is raised, are those of `report_data.gather`.

    Raises:
        ExtraMissing: the packages of the extra `report` are not installed.
        OutputNotWritten: `out` is no name for a page, or cannot be written.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"a report needs {' and '.join(missing)}; install it with: pip install 'rag-rt[report]'"
        )
    if out.suffix == ".md":
        raise OutputNotWritten(f"{out} is where the table goes; name the page, ending in .html")
    from eval.report_html import html_page

    data = gather(guesses, gold, randoms, train, seed=seed, progress=progress)
    for path, text in ((out, html_page(data)), (out.with_suffix(".md"), markdown(data))):
        with written_whole(path) as file:
            # Lone surrogates, which JSON can hold and UTF-8 cannot, are shown as question marks.
            file.write(text.encode(errors="replace"))
    return data
