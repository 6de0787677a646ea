"""The real server over the scripted worker: `python -m tests.service.scripted_server PORT`.

With SCRIPT_CLOCK=jumps, the clock of the server is set to another day whenever it is read.
"""

import os
import random
import sys
import time

from rag_rt.settings import Settings
from service.serving import run

WORKER = [sys.executable, "-m", "tests.service.scripted_worker"]


def jumping(day: int = 24 * 3600) -> float:
    """A time of day that leaps forward and back."""
    return 1_800_000_000 + random.randint(-1000, 1000) * day


if __name__ == "__main__":
    if os.environ.get("SCRIPT_CLOCK") == "jumps":
        time.time = jumping
    run(Settings(), "127.0.0.1", int(sys.argv[1]), WORKER)
