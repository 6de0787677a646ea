"""What a system is: passages for each question of a batch, then an answer to each from them.

The two halves are apart so that the same reader can be given other passages: nothing else changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from rag_rt.answers import Answer, Sentence, Timings, Usage
from rag_rt.errors import SettingsError
from retriever import Hit
from retriever.random_passages import RandomRetriever
from retriever.searching import Retriever, Searcher


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer and the passages it was given; None stands for what a reader does not tell."""

    text: str
    hits: tuple[Hit, ...]
    sentences: tuple[Sentence, ...] | None = None
    usage: Usage | None = None
    timings: Timings | None = None

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """What the pipeline's answer holds."""
        return cls(answer.text, answer.hits, answer.sentences, answer.usage, answer.timings)


class Reader(Protocol):
    """Writes answers from passages (KILT's word for the half of a system that is not retrieval)."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the answers depend on beside questions and passages: any JSON values."""
        ...

    @property
    def independent(self) -> bool:
        """Whether no answer depends, to the last bit, on what is read together with it."""
        ...

    def read(
        self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]
    ) -> Iterable[Reading]:
        """Answer each question from its passages, best first; a closed book is given none.

        Answers come in order, each as soon as it is there.
        """
        ...


@dataclass(frozen=True, slots=True)
class System:
    """A reader and what finds its passages: None for a closed book. `k` passages a question."""

    reader: Reader
    searcher: Searcher | None
    k: int

    def search(self, questions: Sequence[str]) -> list[tuple[Hit, ...]]:
        """The passages of each question, found together; none for a closed book.

        Raises:
            RetrieverError: a question cannot be searched for.
        """
        if self.searcher is None:
            return [()] * len(questions)
        return self.searcher.search_batch(questions, self.k)

    def with_random_passages(self, seed: int) -> Self:
        """The same system over random passages of the same index, the control of retrieval.

        Raises:
            SettingsError: it retrieves none.
        """
        if not isinstance(self.searcher, Retriever):
            raise SettingsError(
                "a closed book has no passages that random ones could stand for; name a --retriever"
            )
        return replace(self, searcher=RandomRetriever(self.searcher, seed))
