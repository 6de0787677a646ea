"""Building takes no more memory for a larger corpus, but for the table of its pages."""

import os
import subprocess
import sys
from pathlib import Path

PAGE_ENTRY = 24  # bytes of a page in the table of pages, and as much while it is sorted

BUILDER = """
import sys, threading, time
from pathlib import Path
from retriever import building, postings
from retriever.passages import Page
from retriever.sources.formats import Source
from tests.retriever.test_updating import HashEncoder, page

postings.SHARD, postings.RANGE = 1024, 20_000  # many of each, as a large corpus has

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

class Fast(HashEncoder):
    def encode_passages(self, passages, progress=None):
        import numpy as np
        vectors = np.zeros((len(passages), self.dimension), np.float32)
        vectors[np.arange(len(passages)), [hash(p.id) % self.dimension for p in passages]] = 1
        return vectors

count, out = int(sys.argv[1]), Path(sys.argv[2])
words = [f"word{n}" for n in range(5000)]
def text(n):
    return " ".join(words[(n * 31 + k * k) % 5000] for k in range(60)) + "."
records = lambda: ((str(n), page(str(n), text(n))) for n in range(count))
def build(records, out):
    building.build_index(Source("test", "a test", str(out), False, records), Fast(), out)

build(lambda: ((str(n), page(str(n), text(n))) for n in range(10000)), out.with_name("first"))
before, peak, over = anonymous(), 0, False
def watch():
    global peak
    while not over:
        peak = max(peak, anonymous())
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
build(records, out)
over = True
watcher.join()
print(peak - before)
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    sizes = (10_000, 30_000)
    small, large = (peak(count, tmp_path / str(count) / "index") for count in sizes)
    slope = (large - small) / (sizes[1] - sizes[0])
    assert slope < 8 * PAGE_ENTRY  # a passage of these has 400 bytes, and here its own page


def peak(count: int, out: Path) -> int:
    run = subprocess.run(
        [sys.executable, "-c", BUILDER, str(count), str(out)],
        capture_output=True,
        text=True,
        timeout=240,
        # Arrow's own allocators take steps of 64 MiB, and give back when they like.
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)
