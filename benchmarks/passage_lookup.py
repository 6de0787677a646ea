"""How long a passage is looked for by its id: Arrow's scan beside a table of digests.

    python -m benchmarks.passage_lookup

The scan holds nothing in memory and the index needs no more files; the table answers at once, and
takes 12 bytes a passage and the time to digest every id when the first is asked for.
"""

import hashlib
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PASSAGES = 4_000_000
BATCH = 4096  # as the passage store is written
KILT = 36_000_000


def main() -> None:
    ids = [f"{number // 6}:{number % 6}" for number in range(PASSAGES)]
    batches = [pa.array(ids[first : first + BATCH]) for first in range(0, PASSAGES, BATCH)]
    column = pa.chunked_array(batches)
    scans = []
    for _ in range(5):
        begun = time.perf_counter()
        assert pc.index(column, "none").as_py() < 0
        scans.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    digests = np.array(
        [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest()) for i in ids],
        dtype=np.uint64,
    )
    order = np.argsort(digests)
    built = time.perf_counter() - begun
    scale = KILT / PASSAGES
    print(f"{PASSAGES:,} ids; for {KILT:,} (KILT) times {scale:g}")
    print(f"scan of all: {min(scans) * 1e3:.1f} ms ({min(scans) / PASSAGES * 1e9:.1f} ns an id)")
    memory = (digests.nbytes + order.astype(np.uint32).nbytes) / 1e6
    print(f"table of digests: {built:.1f} s to make, {memory:.0f} MB")
    print(
        f"KILT: scan {min(scans) * scale:.2f} s; "
        f"table {built * scale:.0f} s, {memory * scale:.0f} MB"
    )


if __name__ == "__main__":
    main()
