"""What the threshold of `overlap` rests on: judged pairs of questions, by their cosine.

`python -m benchmarks.paraphrase_threshold EVALUATION TRAINING` reads two KILT files of ELI5
questions (derived data, not official KILT), encodes the judged pairs of
tests/golden/paraphrases and prints, band by band, how many are paraphrases.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from eval.golds import read_questions
from eval.overlap import BAND_EDGES, THRESHOLD, THRESHOLD_ENCODER
from retriever.encoders import Encoder

JUDGED = Path(__file__).parents[1] / "tests" / "golden" / "paraphrases" / "judged.jsonl"


def main(evaluation: Path, training: Path) -> None:
    pairs = [json.loads(line) for line in JUDGED.read_text().splitlines()]
    encoder = Encoder("starter")
    sides = [
        encode(encoder, path, [pair[key] for pair in pairs])
        for path, key in ((evaluation, "question"), (training, "training_question"))
    ]
    cosines = (sides[0] * sides[1]).sum(axis=1)
    paraphrases = np.array([pair["paraphrase"] for pair in pairs])
    table = Table("cosine", "judged", "paraphrases", "share", "at or above: judged", "share")
    for low, high in reversed(list(pairwise(BAND_EDGES))):
        band, above = paraphrases[(cosines >= low) & (cosines < high)], paraphrases[cosines >= low]
        cells = (len(band), band.sum(), f"{band.mean():.0%}", len(above), f"{above.mean():.0%}")
        table.add_row(f"{low:.2f} to {high:.2f}", *map(str, cells))
    console = Console()
    console.print(table)
    console.print(f"Threshold {THRESHOLD}, {THRESHOLD_ENCODER}; derived data, not official KILT.")


def encode(encoder: Encoder, path: Path, ids: list[str]) -> np.ndarray:
    texts = {question.id: question.text for question in read_questions(path)}
    return encoder.encode_questions([texts[name] for name in ids])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
