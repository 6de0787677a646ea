"""The machine that figures were measured on, printed above each table."""

import platform
from pathlib import Path

import torch


def machine() -> str:
    """Processor, cores, threads, the version of torch and the GPU if any, in a line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = f"{len(names)} x {names[0].split(': ')[1]}" if names else model
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}{gpu}"
