"""A tiny sentence encoder, and data from which it can learn: what training is tested with."""

import json
import random
from itertools import permutations
from pathlib import Path
from typing import Any

from transformers import BertConfig, BertModel

from retriever.training_plan import Plan, TrainingSettings
from tests.tiny_models import bert_tokenizer, randomize, small_bert

LETTERS = "aceghilnorstuvy"


def make_sentence_encoder(folder: Path, **config: Any) -> str:
    tokenizer = bert_tokenizer()
    model = BertModel(BertConfig(**small_bert(len(tokenizer)), **config))
    randomize(model, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_toy(path: Path, count: int = 60) -> Path:
    """Questions of three letters, and texts with the same letters."""
    order = random.Random(0)
    words = order.sample(list(map("".join, permutations(LETTERS, 3))), count)
    with path.open("w") as file:
        for number, word in enumerate(words):
            record = {
                "question": f"{word}?",
                "positive": {"title": f"page {number}", "text": f"{word[::-1]}. {word}."},
                "negatives": ["".join(order.sample(LETTERS, 6)) for _ in range(number % 3)],
            }
            file.write(json.dumps(record) + "\n")
    return path


def toy_plan(folder: Path, out: str, **settings: Any) -> Plan:
    """A run over the toy, whose encoder and data are made where they are not there yet."""
    encoder, data = folder / "encoder", folder / "toy.jsonl"
    if not encoder.exists():
        make_sentence_encoder(encoder)
        write_toy(data)
    return Plan(
        str(encoder),
        [data],
        folder / out,
        TrainingSettings(**{"steps": 8, "every": 2, "batch": 10, "part": 4, **settings}),
    )
