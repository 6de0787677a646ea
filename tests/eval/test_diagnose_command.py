"""What all diagnoses have in common as commands."""

import pytest
from typer.testing import CliRunner

from rag_rt.cli import app

COMMANDS = ("bounds", "ablate", "overlap", "ground", "report")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, ["eval", command, "--help"])
    assert result.exit_code == 0
    assert f"Example: {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_arguments_are_wrong_usage(command: str) -> None:
    assert CliRunner().invoke(app, ["eval", command]).exit_code == 2
