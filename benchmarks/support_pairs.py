"""Sentences of Wikipedia with the passage they are from, and near misses of each.

A case is one sentence. Near misses: the passages without it (the neighbouring paragraphs), the most
similar paragraphs of other articles, and the sentence with a number or a name swapped or a negation
put in or taken out.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.support_data import Case, hits
from rag_rt.grounding.checks import names
from rag_rt.words import content_words
from retriever import Hit
from retriever.encoders import Encoder
from retriever.sentences import sentence_spans
from retriever.sources import open_source

POSITIVE = "from its passage"
KINDS = (
    POSITIVE,
    "neighbouring paragraph",
    "same topic",
    "number swapped",
    "name swapped",
    "negation added",
    "negation removed",
)
_LEAST_WORDS, _MOST_WORDS = 8, 45
_PARAGRAPH = (250, 1200)  # characters of paragraphs that are used
_NEIGHBOURS = 2
_AUXILIARY = re.compile(r"\b(is|was|are|were|can|could|will|would|has|had|may|should)\b(?! not)")


@dataclass(frozen=True, slots=True)
class Article:
    """An article's usable paragraphs."""

    id: str
    title: str
    paragraphs: tuple[str, ...]


def articles(path: Path) -> list[Article]:
    """Articles of a KILT knowledge source that have three usable paragraphs or more."""
    found = []
    for page in open_source("kilt", path).pages():
        ends = [*page.paragraph_starts[1:], len(page.text)]
        texts = [page.text[a:b].strip() for a, b in zip(page.paragraph_starts, ends, strict=True)]
        usable = tuple(t for t in texts if _PARAGRAPH[0] <= len(t) <= _PARAGRAPH[1])
        if len(usable) > _NEIGHBOURS:
            found.append(Article(page.id, page.title, usable))
    return found


def wikipedia_cases(
    sources: Sequence[Article], encoder: Encoder, *, count: int, seed: int
) -> Iterator[Case]:
    """Cases of `count` articles, one sentence with its near misses each; the group is the article.

    The question is the article's title, as an index by title would ask it.
    """
    order = random.Random(seed)
    chosen = order.sample(list(sources), min(count, len(sources)))
    middles = [order.randrange(len(article.paragraphs)) for article in chosen]
    vectors = encoder.encode([a.paragraphs[m] for a, m in zip(chosen, middles, strict=True)])
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1)
    for number, (article, middle) in enumerate(zip(chosen, middles, strict=True)):
        near = [n for n in range(len(article.paragraphs)) if n != middle]
        near = sorted(near, key=lambda n: abs(n - middle))[:_NEIGHBOURS]
        others = np.argsort(-similar[number])[: _NEIGHBOURS + 1]
        yield from _cases(
            f"article {article.id}",
            article.title,
            order,
            own=_hits(article.title, [article.paragraphs[middle]]),
            neighbours=_hits(article.title, [article.paragraphs[n] for n in near]),
            similar=tuple(
                hit
                for n in others
                for hit in _hits(chosen[n].title, [chosen[n].paragraphs[middles[n]]])
            ),
        )


def natural_questions_cases(path: Path, sources: Sequence[Article], seed: int) -> Iterator[Case]:
    """Sentences of nq-long's answers with the paragraph of the gold page that is nearest to them.

    The dump is older than the answers, so sentence and paragraph often differ in wording: where
    fewer than 80 % of the content words are in the paragraph, nothing says that it supports.
    """
    order = random.Random(seed)
    by_id = {article.id: article for article in sources}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        output = record["output"][0]
        article = by_id.get(output["provenance"][0]["wikipedia_id"])
        if article is None:
            continue
        spans = sentence_spans(output["answer"])
        sentence = output["answer"][slice(*order.choice(spans))]
        words = content_words(sentence)
        shares = [len(words & content_words(p)) / max(1, len(words)) for p in article.paragraphs]
        best = int(np.argmax(shares))
        near = sorted((n for n in range(len(shares)) if n != best), key=lambda n: abs(n - best))[
            :_NEIGHBOURS
        ]
        if shares[best] < 0.8 or max(shares[n] for n in near) >= 0.8:
            continue
        yield from _variants(
            f"article {article.id}",
            record["input"],
            order,
            sentence,
            own=_hits(article.title, [article.paragraphs[best]]),
            neighbours=_hits(article.title, [article.paragraphs[n] for n in near]),
            similar=(),
        )


def _cases(
    group: str,
    question: str,
    order: random.Random,
    *,
    own: tuple[Hit, ...],
    neighbours: tuple[Hit, ...],
    similar: tuple[Hit, ...],
) -> Iterator[Case]:
    text = own[0].passage.text
    sentences = [text[a:b] for a, b in sentence_spans(text)]
    usable = [s for s in sentences if _LEAST_WORDS <= len(s.split()) <= _MOST_WORDS]
    if usable:
        sentence = order.choice(usable)
        yield from _variants(
            group, question, order, sentence, own=own, neighbours=neighbours, similar=similar
        )


def _variants(
    group: str,
    question: str,
    order: random.Random,
    sentence: str,
    *,
    own: tuple[Hit, ...],
    neighbours: tuple[Hit, ...],
    similar: tuple[Hit, ...],
) -> Iterator[Case]:
    passages = own + neighbours

    def case(kind: str, text: str, shown: tuple[Hit, ...]) -> Case:
        return Case(group, question, shown, (text,), (kind == POSITIVE,), (kind,))

    yield case(POSITIVE, sentence, passages)
    yield case("neighbouring paragraph", sentence, neighbours)
    if similar:
        yield case("same topic", sentence, similar)
    everything = " ".join(hit.passage.text for hit in passages)
    changed = {
        "number swapped": swap_number(sentence, everything, order),
        "name swapped": swap_name(sentence, everything, order),
        "negation added": add_negation(sentence),
        "negation removed": remove_negation(sentence),
    }
    for kind, text in changed.items():
        if text is not None:
            yield case(kind, text, passages)


def swap_number(sentence: str, passages: str, order: random.Random) -> str | None:
    """The sentence with one number changed, for half of them to one that the passages hold."""
    found = list(re.finditer(r"\d+", sentence))
    if not found:
        return None
    match = order.choice(found)
    elsewhere = sorted(set(re.findall(r"\d+", passages)) - set(re.findall(r"\d+", sentence)))
    if elsewhere and order.random() < 0.5:
        new = order.choice(elsewhere)
    else:
        new = str(int(match.group()) + order.choice((-7, -3, -2, -1, 1, 2, 3, 7, 10)))
    return f"{sentence[: match.start()]}{new.lstrip('-')}{sentence[match.end() :]}"


def swap_name(sentence: str, passages: str, order: random.Random) -> str | None:
    """The sentence with one name changed to another one of the passages."""
    mine = sorted(names(sentence))
    sentences = [passages[a:b] for a, b in sentence_spans(passages)]
    beginnings = {name[:4] for name in mine}
    others = sorted(name for s in sentences for name in names(s) if name[:4] not in beginnings)
    if not mine or not others:
        return None
    swapped = re.sub(rf"\b{re.escape(order.choice(mine))}\b", order.choice(others), sentence)
    return str(swapped)


def add_negation(sentence: str) -> str | None:
    """The sentence with its first auxiliary verb denied."""
    denied, changes = _AUXILIARY.subn(r"\1 not", sentence, count=1)
    return denied if changes else None


def remove_negation(sentence: str) -> str | None:
    """The sentence without its "not"; None where it says "not only"."""
    affirmed, changes = re.subn(r"\bnot (?!only\b)", "", sentence, count=1)
    return affirmed if changes else None


def _hits(title: str, paragraphs: Sequence[str]) -> tuple[Hit, ...]:
    return hits(
        [{"id": f"{title}:{n}", "title": title, "text": p} for n, p in enumerate(paragraphs)]
    )
