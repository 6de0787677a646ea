from collections.abc import Sequence

import numpy as np

from rag_rt.evidence import EvidencePool
from rag_rt.picking import on_topic, pick_sentences
from rag_rt.prompting import (
    PassagesForm,
    RewriteForm,
    form_for,
)
from retriever.encoders import Encoder
from tests.conftest import make_hit

PRICES = "Inflation is a rise in the prices of goods. Each unit of currency then buys fewer goods."
COSMOS = "Cosmic inflation is an exponential expansion of space in the early universe."
QUESTION = "What causes inflation of prices?"


def count_words(text: str) -> int:
    return len(text.split())


def gather(
    texts: Sequence[str], encoder: Encoder, titles: Sequence[str] = "ABCDEFGH"
) -> EvidencePool:
    hits = [
        make_hit(text, title=title, rank=rank)
        for rank, (text, title) in enumerate(zip(texts, titles, strict=False), start=1)
    ]
    return EvidencePool.gather(QUESTION, hits, encoder)


def test_every_sentence_of_the_pool_stands_at_its_offsets(encoder: Encoder) -> None:
    pool = gather([PRICES, COSMOS], encoder)
    assert len(pool.sentences) == len(pool.vectors) == 3
    for sentence in pool.sentences:
        text = pool.hits[sentence.hit].passage.text
        assert text[sentence.start : sentence.end] == sentence.text


def test_passages_of_another_sense_of_the_word_are_left_out(encoder: Encoder) -> None:
    titles = ["Inflation", "Cosmic inflation", "Rate of inflation"]
    pool = gather([PRICES, COSMOS, PRICES.replace("fewer", "less of these")], encoder, titles)
    assert on_topic(pool) == [0, 2]
    facts = RewriteForm().build(pool, QUESTION, 500, count_words).favoured_text
    assert "prices" in facts
    assert "universe" not in facts


def test_the_same_sentence_is_not_picked_twice_while_another_is_left(encoder: Encoder) -> None:
    other = "Central banks raise interest rates when prices rise."
    pool = gather([PRICES, PRICES, other], encoder)
    picked = [pool.sentences[row].text for row in pick_sentences(pool)]
    assert sorted(picked) == sorted({*PRICES.replace(". ", ".|").split("|"), other})


def test_sentences_are_picked_for_the_question_and_put_in_reading_order(encoder: Encoder) -> None:
    barking, rain = "A dog barked at two cats.", "Rain fell on the old garden."
    pool = gather([f"{barking} Prices rise when demand grows. {rain} {PRICES}"], encoder)
    rows = pick_sentences(pool, 24)
    assert rows == sorted(rows)
    assert not {barking, rain} & {pool.sentences[row].text for row in rows}


def test_evidence_is_cut_to_the_room_in_the_context(encoder: Encoder) -> None:
    pool = gather([PRICES, COSMOS], encoder)
    whole = PassagesForm().build(pool, QUESTION, 500, count_words).messages[-1]["content"]
    assert PRICES in whole
    assert COSMOS in whole
    less = PassagesForm().build(pool, QUESTION, 30, count_words).messages[-1]["content"]
    assert PRICES in less
    assert COSMOS not in less
    assert RewriteForm().build(pool, QUESTION, 0, count_words).favoured_text == ""


def test_small_models_get_picked_sentences_and_large_ones_passages() -> None:
    assert isinstance(form_for("auto", 135_000_000), RewriteForm)
    assert isinstance(form_for("auto", 7_000_000_000), PassagesForm)
    assert isinstance(form_for("passages", 135_000_000), PassagesForm)


def test_topic_vectors_are_unit_means(encoder: Encoder) -> None:
    pool = gather([PRICES, COSMOS], encoder)
    topics = pool.topic_vectors()
    mean = pool.vectors[:2].mean(axis=0)
    np.testing.assert_allclose(topics[0], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(topics[1], pool.vectors[2], atol=1e-5)


def test_a_sentence_that_refers_back_comes_with_the_one_before_it(encoder: Encoder) -> None:
    text = "Inflation has a cause. It is that demand for goods grows beyond supply of them. " * 2
    pool = gather([text + "Cats sleep. " * 9], encoder)
    rows = pick_sentences(pool, 40)
    referring = [row for row in rows if pool.sentences[row].text.startswith("It ")]
    assert referring
    assert all(row - 1 in rows for row in referring)
