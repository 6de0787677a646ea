"""Many passages read by routed attention against few read whole: what a wide prompt is worth.

The starter model answers from 5 passages, all of whose keys it reads, and from 30 of the same
index (4,000 to 8,000 tokens), read densely and written by routed attention, as long prompts are by
default; the first questions also by routed attention throughout, which takes longest. Beside them
the default mode, which picks sentences from 8 passages, and from 30. Questions in the KILT schema
(derived, not official KILT). Figures go to FIGURES, question by question, the ways in turn; a run
that was stopped goes on.

Run: python -m benchmarks.wide_answering FIGURES QUESTIONS INDEX [NUMBER] [THROUGHOUT]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoModelForCausalLM

from benchmarks.answer_modes import Asking, Figures, Way, ask_all, print_table
from benchmarks.machine import machine
from eval.significance import compare_paired
from rag_rt.answerer import Answerer
from rag_rt.attention.routed_keys import Routing
from rag_rt.generation import Generator
from rag_rt.models.routed_decoder import DecoderConfig, RoutedDecoder
from rag_rt.models.starter import NAME, starter_generator
from rag_rt.requests import Mode
from rag_rt.settings import Settings, load_settings

FEW = Way("5 passages, dense", Mode.FREE, plain=True, always=True, k=5)
THROUGHOUT = Way("30 passages, routed throughout", Mode.FREE, plain=True, always=True, k=30)
WAYS = (
    FEW,
    Way("30 passages, written routed", Mode.FREE, plain=True, always=True, k=30),
    Way("grounded, 8 passages (default)", Mode.GROUNDED),
    Way("grounded, 30 passages", Mode.GROUNDED, k=30),
)

DEFAULTS = (100, 10)  # questions, and how many of them are read by routed attention too


class RoutedThroughout(Generator):
    """The starter generator, its prompts too read by routed attention."""

    def __init__(self, settings: Settings) -> None:
        """Load it."""
        folder = str(starter_generator(settings.models_directory))
        super().__init__(folder, NAME)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        config = DecoderConfig.of(model.config)
        assert config is not None
        self._decoder = RoutedDecoder(model, config, "int4", Routing())
        self._decoder.warm_up()


def main(figures: Path, questions: Path, index: Path, number: int, throughout: int) -> None:
    settings = load_settings().model_copy(update={"index": index})
    default = Answerer.from_settings(settings)
    asking = {way.name: Asking(default, settings.min_relevance) for way in WAYS}
    if throughout:
        generator = RoutedThroughout(settings)
        routed = Answerer(
            default.retriever,
            generator,
            default.form,
            min_relevance=None,
            entailment=default.entailment,
        )
        asking[THROUGHOUT.name] = Asking(routed, settings.min_relevance)
    records = [json.loads(line) for line in questions.read_text().splitlines()][:number]

    def ways(place: int) -> list[tuple[Way, Asking]]:
        chosen = (*WAYS, THROUGHOUT) if place < throughout else WAYS
        return [(way, asking[way.name]) for way in chosen]

    done = ask_all(figures, records, ways)
    print(f"Questions of {questions.parent.name}, derived data, not official KILT;")
    print(f"{default.generator.name}, greedy, no batch; {machine()}")
    ids = [record["id"] for record in records]
    report([one for one in done if one.id in ids], WAYS)
    if throughout:
        report([one for one in done if one.id in ids[:throughout]], (*WAYS, THROUGHOUT))


def report(figures: list[Figures], ways: Sequence[Way]) -> None:
    """Means, and ROUGE-L against that of few passages."""
    few = rouge_l(figures, FEW)
    print(f"\n{len(few)} questions\n")
    print_table(figures, ways)
    print(f"\nROUGE-L against {FEW.name}, paired:\n")
    for way in ways[1:]:
        (found,) = compare_paired(few, rouge_l(figures, way), seed=0)
        low, high = found.interval or (0, 0)
        print(
            f"- {way.name}: {100 * found.difference:+.1f} "
            f"({100 * low:+.1f} to {100 * high:+.1f}), p {found.p_value:.4f}"
        )


def rouge_l(figures: list[Figures], way: Way) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Of the answers in the order of their questions' ids, (Q, 1)."""
    rows = sorted((one.id, one.rouge_l) for one in figures if one.way == way.name)
    return np.array([[value] for _, value in rows])


if __name__ == "__main__":
    figures_path, questions_path, index_path = map(Path, sys.argv[1:4])
    given = [int(argument) for argument in sys.argv[4:]]
    number, throughout = [*given, *DEFAULTS[len(given) :]]
    main(figures_path, questions_path, index_path, number, throughout)
