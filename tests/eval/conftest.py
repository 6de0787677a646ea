"""Fixtures of the scorer's tests: record files written from Python values."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

WriteRecords = Callable[[str, Iterable[Any]], Path]


@pytest.fixture
def write_records(tmp_path: Path) -> WriteRecords:
    def write(name: str, records: Iterable[Any]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write
