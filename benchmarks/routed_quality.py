"""What a model loses when its queries read an eighth of the keys, and by which choice of keys.

    python -m benchmarks.routed_quality PAGES QUESTIONS [--documents 20] [--questions 20]

PAGES is a KILT knowledge source, QUESTIONS a KILT file whose answers are paragraphs. Each figure is
appended to a file at once, and a run that was stopped goes on from there. An article's loss at a
length is of the 512 tokens before it, given all that precede them.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from benchmarks.machine import machine
from benchmarks.passage_test import PassageQuestion, passage_questions
from benchmarks.routed_figures import Figures, Floats, draw, loss, print_table, recovered
from benchmarks.routed_methods import register_methods
from rag_rt.attention.routed_keys import Routing
from retriever.sources import open_source

LENGTHS = (2048, 4096, 8192)
_SCORED = 512  # tokens before each length
_CHARACTERS = 40_000  # a page of fewer has no 8,192 tokens
_NO_PASSAGES = "no passages"


def main(options: argparse.Namespace) -> None:
    print(f"{machine()}\n{options.model}, {options.budget:,} keys a query")
    figures = Figures(options.figures)
    reader = Reader(options.model, Routing(budget=options.budget), figures, options.device)
    documents = reader.read_documents(options.pages, options.documents)
    questions = reader.read_questions(options.asked, options.questions)
    panels = {}
    if documents:
        nlls = {m: figures.table(documents, m, LENGTHS) for m in reader.methods}
        title = f"Nats a token above dense, {len(documents)} articles"
        panels[title] = {m: loss(nlls[m], nlls["dense"]) for m in reader.methods[1:]}
        print_table(title, panels[title], LENGTHS, "+.4f")
    if questions:
        nlls = {m: figures.table(questions, m, LENGTHS) for m in (_NO_PASSAGES, *reader.methods)}
        print_means(nlls)
        title = f"Share of what passages gain, {len(questions)} questions"
        given = nlls["dense"], nlls[_NO_PASSAGES]
        panels[title] = {m: recovered(nlls[m], *given) for m in reader.methods[1:]}
        print_table(title, panels[title], LENGTHS, ".1%")
    if panels:
        draw(options.plot, panels, LENGTHS)


class Reader:
    """A model that reads texts by each method, and the file that holds what it has read already."""

    def __init__(self, model: str, routing: Routing, figures: Figures, device: str) -> None:
        self._ways = register_methods(routing)
        self.methods = list(self._ways)
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        self._model = loaded.to(device)
        self._run = {"model": Path(model).name, "budget": routing.budget}
        self._figures = figures

    def read_documents(self, source: Path, count: int) -> list[dict[str, Any]]:
        """Measure the losses of some long pages; what rows of each hold in the file."""
        measured = []
        for title, ids in islice(_documents(source, self._tokenizer), count):
            measured.append({**self._run, "document": title})
            for method in self.methods:
                self._measure(measured[-1], method, partial(self._document_nlls, method, ids))
        return measured

    def read_questions(self, source: Path, count: int) -> list[dict[str, Any]]:
        """Measure the gold sentences of some questions, and each without passages."""
        measured = []
        for question in islice(passage_questions(source, self._tokenizer), count):
            measured.append({**self._run, "question": question.id})
            self._measure(measured[-1], _NO_PASSAGES, partial(self._unaided_nlls, question))
            for method in self.methods:
                self._measure(measured[-1], method, partial(self._sentence_nlls, method, question))
        return measured

    def _measure(
        self, what: dict[str, Any], method: str, measure: Callable[[], dict[int, float]]
    ) -> None:
        self._figures.measured({**what, "method": method}, measure)

    def _document_nlls(self, method: str, ids: list[int]) -> dict[int, float]:
        return {n: self._nll(method, ids[: n - _SCORED], ids[n - _SCORED : n]) for n in LENGTHS}

    def _sentence_nlls(self, method: str, question: PassageQuestion) -> dict[int, float]:
        return {n: self._nll(method, question.asked(n), question.sentence) for n in LENGTHS}

    def _unaided_nlls(self, question: PassageQuestion) -> dict[int, float]:
        nll = self._nll("dense", question.asked_alone(), question.sentence)
        return dict.fromkeys(LENGTHS, nll)

    def _nll(self, method: str, prompt: list[int], text: list[int]) -> float:
        """Nats a token of a text that goes on with a prompt."""
        reading, writing = self._ways[method]
        ids = torch.tensor([[*prompt, *text]], device=self._model.device)
        pieces = [ids] if reading == writing else [ids[:, : len(prompt)], ids[:, len(prompt) :]]
        cache, hidden = DynamicCache(), []
        for piece, way in zip(pieces, (reading, writing), strict=False):
            self._model.set_attn_implementation(way)
            hidden.append(self._model.model(piece, past_key_values=cache).last_hidden_state[0])
        states = torch.cat(hidden)[len(prompt) - 1 : -1]
        return float(cross_entropy(self._model.lm_head(states).float(), ids[0, len(prompt) :]))


def print_means(nlls: dict[str, Floats]) -> None:
    print("\nNats a token of the gold sentence\n")
    for method, of_texts in nlls.items():
        print(f"{method:12}", *(f"{mean:7.3f}" for mean in of_texts.mean(0)))


def _documents(source: Path, tokenizer: Any) -> Iterator[tuple[str, list[int]]]:
    """Titles and first tokens of long pages, in an order of chance."""
    long = [page for page in open_source("kilt", source).pages() if len(page.text) > _CHARACTERS]
    Random(0).shuffle(long)
    for page in long:
        ids = tokenizer(page.text, add_special_tokens=False)["input_ids"][: LENGTHS[-1]]
        if len(ids) == LENGTHS[-1]:
            yield page.title, ids


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", type=Path, help="a KILT knowledge source")
    parser.add_argument("asked", type=Path, help="a KILT file whose answers are paragraphs")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--budget", type=int, default=Routing().budget)
    parser.add_argument("--model", default="data/models/SmolLM2-135M-Instruct")
    parser.add_argument("--device", default="cpu", help="or cuda")
    parser.add_argument("--figures", type=Path, default=Path("runs/routed-quality.jsonl"))
    parser.add_argument("--plot", type=Path, default=Path("docs/routed-quality.png"))
    return parser.parse_args()


if __name__ == "__main__":
    with torch.inference_mode():
        main(_options())
