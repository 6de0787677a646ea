"""The way of one question: retrieve, build a prompt, write, ground. The only road through it."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Self

import torch

from rag_rt.answerable import ANSWERABLE, answer_probability
from rag_rt.answers import Answer, FinishReason, Sentence, Status, Support, Timings, Usage
from rag_rt.choosing import Sampling
from rag_rt.coverage import covers
from rag_rt.events import Event, EventStream, Finished, Grounded, Retrieved, Turns, Wrote
from rag_rt.evidence import EvidencePool
from rag_rt.generation import Generator as TextGenerator
from rag_rt.grounding import Entailment, Grounder, open_entailment
from rag_rt.modes.extractive import quote_all
from rag_rt.modes.free import write_freely
from rag_rt.modes.grounded import GroundedWriter, Rules, written_again
from rag_rt.modes.paragraph import Paragraph
from rag_rt.prompting import INSTRUCTION_TOKENS, PromptForm, fitting, form_for, picked_texts
from rag_rt.requests import Mode, Request
from rag_rt.retrieval import open_retriever
from rag_rt.settings import Settings
from retriever import Hit
from retriever.encoders import DualEncoder, Encoder
from retriever.searching import Retriever

NOT_FOUND = "The corpus holds nothing that answers this question."
UNANSWERED = "The passages that were found do not answer this question."
_NAMED = 3  # titles of what was found instead


class Answerer:
    """Answers questions from one index with one generator. Not thread-safe."""

    def __init__(
        self,
        retriever: Retriever,
        generator: TextGenerator,
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
        self._batch = generator.new_batch()
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
        retriever = open_retriever(settings)
        generator = TextGenerator.from_settings(settings)
        form = form_for(settings.prompt, generator.parameters)
        min_relevance = settings.min_relevance if check_coverage else None
        entailment = open_entailment(settings.entailment)
        return cls(retriever, generator, form, min_relevance=min_relevance, entailment=entailment)

    def answer(self, request: Request) -> Answer:
        """The whole answer to a question."""
        return _drained(self.turns(request))

    def answer_from(self, request: Request, hits: Sequence[Hit]) -> Answer:
        """The whole answer to a question from given passages, at least one."""
        return _drained(self._read(request, tuple(hits), _Clock()))

    def stream(self, request: Request) -> EventStream:
        """The answer as it comes: `Retrieved`, then `Wrote` and `Grounded`, then `Finished`.

        The texts of all `Wrote` make up the answer's text. Closing the generator stops the work.
        """
        with closing(self.turns(request)) as turns:
            yield from (event for event in turns if event is not None)

    def turns(self, request: Request) -> Turns:
        """As `stream`, with None for each turn of work that had nothing to tell.

        Several answers may be under way at the same time, whose turns one thread takes in any
        order: they are written together, and none depends on the others.
        """
        clock = _Clock()
        with clock.stage("retrieval"):
            hits = tuple(
                self.retriever.search(_plain(request.question), request.k, request.retrieval)
            )
        yield Retrieved(hits)
        yield from self._read(request, hits, clock)

    def _read(self, request: Request, hits: tuple[Hit, ...], clock: "_Clock") -> Turns:
        """Everything after the passages were found."""
        question = _plain(request.question)
        floor = self.min_relevance
        if not hits or (floor is not None and not covers(question, hits, floor)):
            yield from _told(request, hits, clock, Status.NOT_FOUND, NOT_FOUND)
            return
        with clock.stage("prompting"):
            pool = EvidencePool.gather(question, hits, self.encoder)
            grounder = Grounder(pool, self.encoder, self.entailment)
        asked_strictly = floor is not None and request.mode is not Mode.FREE
        if asked_strictly and answer_probability(pool) < ANSWERABLE:
            yield from _told(request, hits, clock, Status.UNANSWERED, _unanswered(hits))
            return
        paragraph = Paragraph(clock.timed("grounding", grounder.ground))
        with clock.stage("generation"):
            usage = yield from self._write(request, pool, paragraph)
        yield Finished(
            Answer(
                question=request.question,
                text=paragraph.text,
                status=Status.ANSWERED,
                sentences=tuple(paragraph.sentences),
                hits=hits,
                usage=usage,
                timings=clock.timings(),
            )
        )

    def _write(
        self, request: Request, pool: EvidencePool, paragraph: Paragraph
    ) -> Generator[Event | None, None, Usage]:
        """The paragraph in the mode that is asked for."""
        count = self.generator.count_tokens
        if request.mode is Mode.EXTRACTIVE:
            quotes = fitting(picked_texts(pool), request.max_tokens, count)
            yield from quote_all(quotes, paragraph)
            return Usage(0, sum(map(count, quotes)), FinishReason.STOP)
        room = (
            self.generator.context - request.max_tokens - count(pool.question) - INSTRUCTION_TOKENS
        )
        prompt = self.form.build(pool, pool.question, room, count)
        sampling = _sampling(request)
        generation = self.generator.generate(prompt, sampling, self._batch)
        with closing(generation):
            if request.mode is Mode.FREE:
                yield from write_freely(generation, paragraph)
            else:
                hold = partial(self.generator.sampling_for, prompt)
                again = tuple(map(hold, written_again(sampling)))
                titles = {hit.passage.id: hit.passage.title for hit in pool.hits}
                rules = Rules(hold(sampling), again, prompt.quotes, prompt.closely, titles)
                yield from GroundedWriter(generation, paragraph, rules).turns()
        return Usage(
            generation.prompt_tokens, generation.completion_tokens, generation.finish_reason
        )


def _sentence_encoder(encoder: DualEncoder) -> Encoder:
    """What compares sentences: the retriever's encoder if it encodes any text, else the starter's.

    The threshold of grounding is one of cosines between sentences, which the encoders of questions
    and passages do not give.
    """
    return encoder if isinstance(encoder, Encoder) else Encoder("starter")


def _plain(question: str) -> str:
    return " ".join(question.split())


def _drained(turns: Iterable[Event | None]) -> Answer:
    for event in turns:
        if isinstance(event, Finished):
            return event.answer
    raise AssertionError("an answer ends with Finished")


def _told(
    request: Request, hits: tuple[Hit, ...], clock: "_Clock", status: Status, text: str
) -> Iterator[Event]:
    """An answer that says why there is none."""
    sentence = Sentence(0, len(text), Support.UNSUPPORTED, (), 0.0)
    yield Wrote(text)
    yield Grounded(0, sentence)
    yield Finished(
        Answer(
            question=request.question,
            text=text,
            status=status,
            sentences=(sentence,),
            hits=hits,
            usage=Usage(0, 0, FinishReason.STOP),
            timings=clock.timings(),
        )
    )


def _unanswered(hits: Sequence[Hit]) -> str:
    titles = list(dict.fromkeys(hit.passage.title for hit in hits))[:_NAMED]
    *others, last = titles
    named = f"{', '.join(others)} and {last}" if others else last
    return f"{UNANSWERED} The nearest are about {named}."


def _sampling(request: Request) -> Sampling:
    # What is greedy may have to be written again by chance, and must be the same each time.
    greedy = request.temperature == 0 and request.seed is None
    return Sampling(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        seed=0 if greedy else request.seed,
    )


class _Clock:
    """Adds up the seconds of each stage."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._seconds = dict.fromkeys(("retrieval", "prompting", "generation", "grounding"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the seconds within, those of the stages inside it left out."""
        begun, inside = time.perf_counter(), sum(self._seconds.values())
        yield
        inside = sum(self._seconds.values()) - inside
        self._seconds[name] += time.perf_counter() - begun - inside

    def timed(
        self, name: str, work: Callable[[str, int, int], Sentence]
    ) -> Callable[[str, int, int], Sentence]:
        """The same work, its seconds counted."""

        def counted(text: str, start: int, end: int) -> Sentence:
            with self.stage(name):
                return work(text, start, end)

        return counted

    def timings(self) -> Timings:
        return Timings(**self._seconds, total=time.perf_counter() - self._begun)
