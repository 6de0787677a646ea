"""Readers against plain computations: RAG's sums over passages, batches, what models read."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eval.systems import Reader
from eval.systems.rag import RagReader
from eval.systems.routing_transformer import RoutingTransformerReader
from eval.systems.seq2seq import FORMS, Seq2SeqReader, passages_before_question
from rag_rt.errors import GeneratorError
from retriever import Hit
from retriever.errors import ArtefactDamaged
from tests.conftest import make_hit
from tests.tiny_models import make_bart, make_rag, make_routing_transformer, make_t5, randomize

QUESTIONS = ["Why is the ocean salty?", "gold?", "How do vaccines teach the body to fight it?"]
PASSAGES = [
    (
        make_hit("Rivers carry salts into it.", title="Ocean", score=1.5),
        make_hit("Gold is a metal. " * 5, title="Gold", score=0.2, rank=2),
    ),
    (
        make_hit("Gold is a metal.", title="Gold", score=0.3),
        make_hit("Cells are the units of life.", title="Cell", score=0.25, rank=2),
    ),
    (
        make_hit("Vaccines teach the body.", title="Vaccine", score=-1.0),
        make_hit("A disease", title="Disease", score=-9.0, rank=2),
    ),
]
SMALL = 7  # token ids that the enumeration uses: BART's special tokens and three bytes
LENGTH = 3


def texts(reader: Reader, rows: slice = slice(None)) -> list[str]:
    return [reading.text for reading in reader.read(QUESTIONS[rows], PASSAGES[rows])]


@pytest.mark.parametrize("kind", ["bart", "bart-eli5", "t5", "rag-token", "rag-sequence", "rt"])
def test_a_batch_is_answered_as_its_questions_are_one_by_one(tmp_path: Path, kind: str) -> None:
    reader = make_reader(kind, tmp_path / "model")
    together = texts(reader)
    assert together == [texts(reader, slice(row, row + 1))[0] for row in range(3)]
    assert len(set(together)) > 1


def make_reader(kind: str, folder: Path) -> Reader:
    if kind == "rt":
        model = Path(make_routing_transformer(folder))
        # A nucleus that holds the likeliest token alone: sampling has no choice.
        return RoutingTransformerReader(model, max_tokens=12, seed=0, nucleus=1e-9)
    if kind.startswith("rag"):
        by_token = kind == "rag-token"
        return RagReader(make_rag(folder, by_token=by_token), by_token=by_token, max_tokens=12)
    make = make_t5 if kind == "t5" else make_bart
    return Seq2SeqReader(kind, make(folder), max_tokens=12)


@pytest.mark.parametrize("by_token", [True, False])
@pytest.mark.parametrize("scores", [(4.0, -4.0), (-4.0, 4.0), (0.0, 0.5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_rag_with_all_beams_finds_the_likeliest_answer_of_all(
    tmp_path: Path, seed: int, scores: tuple[float, float], by_token: bool
) -> None:
    """Against the probability of every possible answer, by the formulas of the paper."""
    reader: Any = RagReader(
        make_rag(tmp_path / "rag", by_token=by_token), by_token=by_token, max_tokens=LENGTH
    )
    model = reader._model
    randomize(model, seed, std=1.0)
    generator = model.rag.generator
    with torch.no_grad():
        generator.final_logits_bias[0, SMALL:] = -torch.inf
    settings = generator.generation_config
    settings.num_beams, settings.length_penalty = SMALL ** (LENGTH - 1), 0.0
    if by_token:
        model.generation_config.num_beams = SMALL ** (LENGTH - 1)
        model.generation_config.length_penalty = 0.0
    inputs = reader._inputs(QUESTIONS[:1], PASSAGES[:1])
    write = reader._write_by_token if by_token else reader._write_by_sequence
    with torch.inference_mode():
        (written,) = write(inputs["input_ids"], inputs["attention_mask"], torch.tensor([scores]))
        values = {
            answer: log_probability(
                generator, inputs, torch.tensor(scores), answer, by_token=by_token
            )
            for answer in all_answers()
        }
    best = max(values, key=values.__getitem__)
    assert cut(written[1:].tolist()) == best
    runner_up = sorted(values.values())[-2]
    assert values[best] - runner_up > 1e-4, "the test cannot tell the best from the next"


def all_answers() -> list[tuple[int, ...]]:
    """Every answer that ends itself (BART's id 2) or is `LENGTH` tokens long."""
    return sorted({cut(list(ids)) for ids in product(range(SMALL), repeat=LENGTH)})


def cut(ids: list[int]) -> tuple[int, ...]:
    return tuple(ids[: ids.index(2) + 1]) if 2 in ids else tuple(ids)


def log_probability(
    generator: Any, inputs: Any, scores: Tensor, answer: tuple[int, ...], *, by_token: bool
) -> float:
    prior = scores.softmax(-1)
    of_tokens = []  # of each passage, of each token
    for row in range(len(scores)):
        ids = inputs["input_ids"][row : row + 1]
        mask = inputs["attention_mask"][row : row + 1]
        start = torch.tensor([[2, *answer[:-1]]])
        logits = generator(input_ids=ids, attention_mask=mask, decoder_input_ids=start).logits[0]
        of_tokens.append(logits.softmax(-1)[range(len(answer)), answer])
    tokens = torch.stack(of_tokens).double()  # (Z, T)
    if by_token:
        return float((prior.double() @ tokens).log().sum())
    return float((prior.double() * tokens.prod(-1)).sum().log())


def test_rag_reads_title_passage_and_question_as_it_was_trained(tmp_path: Path) -> None:
    reader: Any = RagReader(make_rag(tmp_path / "rag", by_token=True), by_token=True, max_tokens=4)
    inputs = reader._inputs(QUESTIONS[:1], PASSAGES[:1])
    first, _ = reader._tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
    assert first == "Ocean / Rivers carry salts into it. // Why is the ocean salty?"


@pytest.mark.parametrize("passages", [[(), ()], [PASSAGES[0], PASSAGES[1][:1]]])
def test_rag_without_passages_to_weigh_is_an_error(
    tmp_path: Path, passages: list[tuple[Hit, ...]]
) -> None:
    reader = RagReader(make_rag(tmp_path / "rag", by_token=True), by_token=True, max_tokens=4)
    with pytest.raises(GeneratorError, match="as many for each question"):
        reader.read(QUESTIONS[:2], passages)


def test_bart_reads_the_passages_before_the_question_while_there_is_room() -> None:
    def words(text: str) -> int:
        return len(text.split())

    question, hits = QUESTIONS[0], PASSAGES[0]
    whole = "Ocean Rivers carry salts into it.\nGold " + hits[1].passage.text + f"\n{question}"
    assert passages_before_question(question, hits, 100, words) == whole
    first_alone = "Ocean Rivers carry salts into it.\nWhy is the ocean salty?"
    assert passages_before_question(question, hits, 12, words) == first_alone
    assert passages_before_question(question, hits, 11, words) == question
    assert passages_before_question(question, (), 100, words) == question


def test_published_forms_are_the_published_ones() -> None:
    hits = PASSAGES[1]
    read = FORMS["bart-eli5"].build("gold?", hits, 100, len)
    assert read == "question: gold? context: <P> Gold is a metal. <P> Cells are the units of life."
    assert FORMS["t5"].build("gold?", (), 100, len) == "Question Answering: gold?"


def test_too_many_passages_for_a_routing_transformer_are_an_error(tmp_path: Path) -> None:
    model = Path(make_routing_transformer(tmp_path / "rt"))
    reader = RoutingTransformerReader(model, max_tokens=12, seed=0)
    with pytest.raises(GeneratorError, match=r"1,440 ids and the model reads 1,280; lower --k"):
        reader.read(QUESTIONS[:1], [PASSAGES[0] * 2])


def test_a_damaged_routing_transformer_is_refused(tmp_path: Path) -> None:
    folder = Path(make_routing_transformer(tmp_path / "rt"))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ArtefactDamaged, match="config"):
        RoutingTransformerReader(folder, max_tokens=12, seed=0)
