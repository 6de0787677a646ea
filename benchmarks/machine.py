"""The machine that figures were measured on, printed above each table."""

import platform
from pathlib import Path

import torch


def machine() -> str:
    """Processor, cores, threads and the version of torch, in a line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = f"{len(names)} x {names[0].split(': ')[1]}" if names else model
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"
