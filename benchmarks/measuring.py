"""Seconds and memory of this process, and benchmarks that need a fresh process for each figure."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"  # man 5 proc: of /proc/pid/clear_refs


def median_seconds(action: Callable[[], object], runs: int) -> float:
    """The median wall-clock time of some runs; where there are more than one, after one more."""
    seconds = []
    for _ in range(runs + (runs > 1)):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return median(seconds[-runs:])


def resident_mib() -> float:
    """Memory that this process holds now."""
    return _status("VmRSS")


def peak_mib() -> float:
    """The most memory that this process held since it began, or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let `peak_mib` begin anew."""
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def in_child(module: str, *arguments: object) -> Any:
    """What `python -m module --child arguments…` prints as JSON in its last line."""
    command = [sys.executable, "-W", "ignore", "-m", module, "--child", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{' '.join(command[4:])} failed:\n{run.stderr.strip()[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def _status(field: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
