"""docs/service.md says what is there: the settings, and a row for each test of a fault."""

import ast
from pathlib import Path

from service.keys import KeySettings
from service.settings import ServiceSettings
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "service.md").read_text()


def test_the_page_has_every_setting_with_its_default() -> None:
    for fields in (ServiceSettings.model_fields, KeySettings.model_fields):
        for name, field in fields.items():
            default = "" if field.default is None else str(field.default)
            row = f"| `{name.upper()}` | {default} | {field.description} |"
            assert row.replace("|  |", "| |") in PAGE


def test_the_page_has_a_row_for_every_test_of_a_fault() -> None:
    tests = {
        node.name
        for path in Path(ROOT / "tests" / "faults").glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    rows = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `test_")}
    assert rows == tests
