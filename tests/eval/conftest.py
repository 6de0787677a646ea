"""Fixtures of the evaluation's tests: files in the test's own directory."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from retriever import Hit
from tests.eval.files import record_file, run_files

WriteRecords = Callable[[str, Iterable[Any]], Path]
WriteRun = Callable[[str, Sequence[tuple[str, Sequence[Hit]]]], Path]


@pytest.fixture
def write_records(tmp_path: Path) -> WriteRecords:
    return lambda name, records: record_file(tmp_path / name, records)


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    return lambda name, answers: run_files(tmp_path / name, answers)
