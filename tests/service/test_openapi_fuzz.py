"""Whatever the OpenAPI document allows, and much that it does not, asked of the whole service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONFIG = str(HERE / "schemathesis.toml")
HOOKS = "tests.service.schemathesis_checks"
SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))


def asked(url: str, folder: Path, *options: str) -> int:
    """Ask by schemathesis; returns the number of requests, none of which showed a fault."""
    options = (
        "--seed",
        "1",
        "--no-color",
        "--continue-on-failure",
        "--request-timeout",
        "60",
        *options,
    )
    run = subprocess.run(
        [SCHEMATHESIS, "--config-file", CONFIG, "run", f"{url}/openapi.json", *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    generated = re.search(r"(\d+) generated", run.stdout)
    assert generated, run.stdout
    return int(generated[1])


def test_every_reply_is_as_documented_and_none_is_a_failure(tiny_url: str, tmp_path: Path) -> None:
    options = ("--phases", "examples,coverage,fuzzing", "--max-examples", "5")
    assert asked(tiny_url, tmp_path, *options) > 200


def test_what_a_search_finds_can_be_asked_for(tiny_url: str, tmp_path: Path) -> None:
    assert asked(tiny_url, tmp_path, "--phases", "stateful", "--max-examples", "5") > 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_replies_are_as_documented(tiny_url: str, tmp_path: Path) -> None:
    assert asked(tiny_url, tmp_path, "--max-examples", "300") > 3000
