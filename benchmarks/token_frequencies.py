"""In how few passages of Wikipedia each token of the starter encoder stands; writes what ships.

Run: python -m benchmarks.token_frequencies mini_kilt_knowledgesource.jsonl.xz
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from rag_rt.grounding.features import FREQUENCIES
from retriever import starter_pack
from retriever.sources import open_source

WORDS = 100  # of a passage, as in DPR


def main(wikipedia: Path) -> None:
    folder = starter_pack.locate(starter_pack.ENCODER).parent
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    holding = np.zeros(tokenizer.vocab_size)
    number = 0
    for page in open_source("kilt", wikipedia).pages():
        passages = list(_passages(page.text))
        number += len(passages)
        for ids in tokenizer(passages, add_special_tokens=False)["input_ids"]:
            holding[np.unique(ids)] += 1
    inverse = np.log((number + 1) / (holding + 1)).astype(np.float16)
    np.savez_compressed(FREQUENCIES, inverse=inverse)
    print(f"{number:,} passages, {np.count_nonzero(holding):,} tokens of {len(holding):,}")


def _passages(text: str) -> Iterator[str]:
    words = text.split()
    for first in range(0, len(words), WORDS):
        yield " ".join(words[first : first + WORDS])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
