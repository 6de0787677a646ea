"""The way of one question: retrieve, build a prompt, write, ground. The only road through it."""

import time
from collections import abc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch

from rag_rt.answers import Answer, FinishReason, Sentence, Status, Support, Timings, Usage
from rag_rt.choosing import Sampling
from rag_rt.coverage import covers
from rag_rt.evidence import EvidencePool
from rag_rt.generation import Generator
from rag_rt.grounding import Entailment, Grounder, open_entailment
from rag_rt.prompting import INSTRUCTION_TOKENS, Prompt, PromptForm, form_for
from rag_rt.requests import Request
from rag_rt.settings import Settings
from retriever import Hit
from retriever.encoders import DualEncoder, Encoder
from retriever.index import Index
from retriever.named_encoders import open_encoder
from retriever.searching import Retriever
from retriever.sentences import finished_spans, sentence_spans

NOT_FOUND = "The corpus holds nothing that answers this question."


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages were found."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Wrote:
    """The answer grew by `text`."""

    text: str


@dataclass(frozen=True, slots=True)
class Grounded:
    """The sentence number `index` of the answer is finished."""

    index: int
    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole."""

    answer: Answer


Event = Retrieved | Wrote | Grounded | Finished
EventStream = abc.Generator[Event, None, None]


class Answerer:
    """Answers questions from one index with one generator. Not thread-safe: one question a time."""

    def __init__(
        self,
        retriever: Retriever,
        generator: Generator,
        form: PromptForm,
        *,
        min_relevance: float | None,
        entailment: Entailment | None = None,
    ) -> None:
        """Join the parts of the road.

        Args:
            retriever: finds the passages.
            generator: writes.
            form: puts a question and its evidence to the generator.
            min_relevance: the cosine from which the corpus covers a question; None answers always.
            entailment: gives claims their probability of support; by default the starter's.
        """
        self.retriever = retriever
        self.encoder = _sentence_encoder(retriever.encoder)
        self.generator = generator
        self.form = form
        self.entailment = entailment or open_entailment()
        # Other encoders give no cosine, and nobody has measured where their scores tell the two.
        self.min_relevance = min_relevance if retriever.encoder.cosine else None

    @classmethod
    def from_settings(cls, settings: Settings, *, check_coverage: bool = True) -> Self:
        """Load everything that answering takes.

        Args:
            settings: name the index, the encoder, the generator and the form of prompts.
            check_coverage: whether to turn away what the corpus does not cover.

        Raises:
            RetrieverError, RagRtError: something is missing, damaged or does not fit together; the
                message names the command that mends it.
        """
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        retriever = Retriever(Index(settings.index_directory), open_encoder(settings.encoder))
        generator = Generator.from_settings(settings)
        form = form_for(settings.prompt, generator.parameters)
        min_relevance = settings.min_relevance if check_coverage else None
        entailment = open_entailment(settings.entailment)
        return cls(retriever, generator, form, min_relevance=min_relevance, entailment=entailment)

    def answer(self, request: Request) -> Answer:
        """The whole answer to a question."""
        return _drained(self.stream(request))

    def answer_from(self, request: Request, hits: Sequence[Hit]) -> Answer:
        """The whole answer to a question from given passages, at least one."""
        question = _plain(request.question)
        return _drained(self._stream_from(request, question, tuple(hits), _Clock()))

    def stream(self, request: Request) -> EventStream:
        """The answer as it comes: `Retrieved`, then `Wrote` and `Grounded`, then `Finished`.

        The texts of all `Wrote` make up the answer's text. Closing the generator stops the work.
        """
        clock = _Clock()
        question = _plain(request.question)
        with clock.stage("retrieval"):
            hits = tuple(self.retriever.search(question, request.k))
        yield Retrieved(hits)
        yield from self._stream_from(request, question, hits, clock)

    def _stream_from(
        self, request: Request, question: str, hits: tuple[Hit, ...], clock: "_Clock"
    ) -> Iterator[Event]:
        floor = self.min_relevance
        if floor is not None and not covers(question, hits, floor):
            yield from self._not_found(request, hits, clock)
            return

        with clock.stage("prompting"):
            pool = EvidencePool.gather(question, hits, self.encoder)
            grounder = Grounder(pool, self.encoder, self.entailment)
            generation = self.generator.generate(
                self._prompt(pool, question, request), _sampling(request)
            )

        text = ""
        sentences: list[Sentence] = []
        for piece in clock.iterate("generation", _trimmed(generation)):
            text += piece
            yield Wrote(piece)
            for span in finished_spans(text)[len(sentences) :]:
                with clock.stage("grounding"):
                    sentences.append(grounder.ground(text, *span))
                yield Grounded(len(sentences) - 1, sentences[-1])
        for span in sentence_spans(text)[len(sentences) :]:
            with clock.stage("grounding"):
                sentences.append(grounder.ground(text, *span))
            yield Grounded(len(sentences) - 1, sentences[-1])

        usage = Usage(
            generation.prompt_tokens, generation.completion_tokens, generation.finish_reason
        )
        yield Finished(
            Answer(
                question=request.question,
                text=text,
                status=Status.ANSWERED,
                sentences=tuple(sentences),
                hits=hits,
                usage=usage,
                timings=clock.timings(),
            )
        )

    def _prompt(self, pool: EvidencePool, question: str, request: Request) -> Prompt:
        count = self.generator.count_tokens
        room = self.generator.context - request.max_tokens - count(question) - INSTRUCTION_TOKENS
        return self.form.build(pool, question, room, count)

    def _not_found(
        self, request: Request, hits: tuple[Hit, ...], clock: "_Clock"
    ) -> Iterator[Event]:
        sentence = Sentence(0, len(NOT_FOUND), Support.UNSUPPORTED, ())
        yield Wrote(NOT_FOUND)
        yield Grounded(0, sentence)
        yield Finished(
            Answer(
                question=request.question,
                text=NOT_FOUND,
                status=Status.NOT_FOUND,
                sentences=(sentence,),
                hits=hits,
                usage=Usage(0, 0, FinishReason.STOP),
                timings=clock.timings(),
            )
        )


def _sentence_encoder(encoder: DualEncoder) -> Encoder:
    """What compares sentences: the retriever's encoder if it encodes any text, else the starter's.

    The threshold of grounding is one of cosines between sentences, which the encoders of questions
    and passages do not give.
    """
    return encoder if isinstance(encoder, Encoder) else Encoder("starter")


def _plain(question: str) -> str:
    return " ".join(question.split())


def _drained(events: Iterable[Event]) -> Answer:
    for event in events:
        if isinstance(event, Finished):
            return event.answer
    raise AssertionError("a stream ends with Finished")


def _sampling(request: Request) -> Sampling:
    return Sampling(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed,
    )


def _trimmed(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces without the white space that begins or ends the whole, and without empty ones."""
    begun, pending = False, ""
    for piece in pieces:
        pending += piece if begun else piece.lstrip()
        if visible := pending.rstrip():
            begun = True
            yield visible
            pending = pending[len(visible) :]


class _Clock:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._seconds = dict.fromkeys(("retrieval", "prompting", "generation", "grounding"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - begun

    def iterate(self, name: str, pieces: Iterator[str]) -> Iterator[str]:
        """The pieces, the time they take to come counted and the time their reader takes not."""
        while True:
            with self.stage(name):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def timings(self) -> Timings:
        return Timings(**self._seconds, total=time.perf_counter() - self._begun)
