"""BART and T5 as readers: one text in, one text out (transformers' sequence-to-sequence models).

Decoding is greedy or by beams, as the model's own generation settings say, and never sampled, so
that the same questions in the same batches give the same answers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM

from eval.systems.loading import load_reader_model, settings_of_model
from eval.systems.system import Reading
from retriever import Hit

T5_TOKENS = 512  # T5 has no last position, but was trained on so many (Raffel et al. 2020, §3.1.2)

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class InputForm:
    """How a question and its passages become the text that a model was trained to read.

    `build` is given the number of tokens that there is room for; `decoding` is what the published
    system generates with, where that is not in its own generation settings.
    """

    build: Callable[[str, Sequence[Hit], int, CountTokens], str]
    closed_book: bool = False
    decoding: Mapping[str, int] = field(default_factory=dict)


def passages_before_question(
    question: str, hits: Sequence[Hit], room: int, count: CountTokens
) -> str:
    """KILT's BART + DPR: the passages are put before the input (Petroni et al. 2021, appendix).

    What stands between them was not published; here each is a line, title first. Passages are left
    out from the last on where there is no room, so that the question is always read whole.
    """
    lines = [question]
    left = room - count(question)
    for hit in hits:
        line = f"{hit.passage.title} {hit.passage.text}"
        left -= count(line) + 1
        if left < 0:
            break
        lines.insert(-1, line)
    return "\n".join(lines)


def question_and_context(question: str, hits: Sequence[Hit], room: int, count: CountTokens) -> str:
    """The form of the published `yjernite/bart_eli5`, which cuts what does not fit."""
    context = " ".join(f"<P> {hit.passage.text}" for hit in hits)
    return f"question: {question} context: {context}"


def task_and_question(question: str, hits: Sequence[Hit], room: int, count: CountTokens) -> str:
    """KILT's T5, a closed book: the name of the task and the question."""
    return f"Question Answering: {question}"


FORMS: Mapping[str, InputForm] = {
    "bart": InputForm(passages_before_question),
    "bart-eli5": InputForm(
        question_and_context,
        decoding={  # `qa_s2s_generate` of transformers' lfqa_utils.py, with which it was published
            "num_beams": 8,
            "min_length": 64,
            "early_stopping": True,
            "no_repeat_ngram_size": 3,
            "decoder_start_token_id": 0,  # <s>, where BART's own is </s>
        },
    ),
    "t5": InputForm(task_and_question, closed_book=True),
}


class Seq2SeqReader:
    """A sequence-to-sequence model that reads in one form. Computes in float32."""

    independent = False

    def __init__(self, form: str, folder: str, *, max_tokens: int) -> None:
        """Load a reader.

        Args:
            form: a key of `FORMS`.
            folder: a folder or a Hugging Face Hub id.
            max_tokens: the longest answer.

        Raises:
            GeneratorError: the model cannot be loaded.
        """
        self._name = f"{form}:{folder}"
        self._form = FORMS[form]
        self._max_tokens = max_tokens
        self._model, self._tokenizer = load_reader_model(AutoModelForSeq2SeqLM, folder, self._name)
        positions = getattr(self._model.config, "max_position_embeddings", None) or T5_TOKENS
        self._settings = {
            "generator": self._name,
            "max_tokens": max_tokens,
            **settings_of_model(self._model),
        }
        self._room = min(positions, self._tokenizer.model_max_length)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Reader`."""
        return self._settings

    @torch.inference_mode()
    def read(self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]) -> list[Reading]:
        """See `Reader`."""
        room = self._room - self._tokenizer.num_special_tokens_to_add()
        texts = [
            self._form.build(question, hits, room, self._count)
            for question, hits in zip(questions, passages, strict=True)
        ]
        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._room, return_tensors="pt"
        )
        decoding = dict(self._form.decoding)
        if "min_length" in decoding:
            decoding["min_length"] = min(decoding["min_length"], self._max_tokens)
        written = self._model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=self._max_tokens,
            do_sample=False,
            **decoding,
        )
        answers = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            Reading(answer.strip(), hits) for answer, hits in zip(answers, passages, strict=True)
        ]

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))
