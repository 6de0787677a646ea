import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.answers import Claim, Sentence, Support
from rag_rt.evidence import EvidencePool
from rag_rt.grounding import PARTLY, THRESHOLD, Grounder
from retriever.encoders import Encoder
from retriever.sentences import finished_spans, sentence_spans
from tests.conftest import make_hit

SEA = "The sea is salty. Rivers carry dissolved salts into it. It covers 70.8% of Earth."
WINE = "Wine is made from grapes. Yeast turns their sugar into alcohol."
MARS = "Mars was photographed by Asaph Hall in 1877. He did not see any canals on its surface."


@pytest.fixture(scope="module")
def pool(encoder: Encoder) -> EvidencePool:
    texts = {"Sea": SEA, "Wine": WINE, "Mars": MARS}
    hits = [make_hit(text, title=title, rank=n) for n, (title, text) in enumerate(texts.items(), 1)]
    return EvidencePool.gather("Why is the sea salty?", hits, encoder)


@pytest.fixture(scope="module")
def grounder(pool: EvidencePool, encoder: Encoder) -> Grounder:
    return Grounder(pool, encoder)


def ground(grounder: Grounder, text: str) -> Sentence:
    return grounder.ground(text, 0, len(text))


def test_a_supported_sentence_is_quoted_from_its_passage(grounder: Grounder) -> None:
    sentence = ground(grounder, "Rivers carry dissolved salts into the sea.")
    assert sentence.support is Support.SUPPORTED
    evidence = sentence.evidence[0]
    assert evidence.passage_id == "Sea:1"
    assert evidence.quote == "Rivers carry dissolved salts into it."
    assert SEA[evidence.start : evidence.end] == evidence.quote
    assert sentence.probability is not None
    assert THRESHOLD <= sentence.probability <= 1


@pytest.mark.parametrize(
    "text", ["The moon is made of rock and dust.", "Napoleon was crowned in Paris.", "…", ""]
)
def test_an_unsupported_sentence_is_labelled_not_cited(grounder: Grounder, text: str) -> None:
    sentence = ground(grounder, text)
    assert sentence.support is Support.UNSUPPORTED
    assert sentence.evidence == ()
    assert sentence.probability is not None
    assert sentence.probability < PARTLY


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("The sea covers 70.8% of Earth.", "The sea covers 90.8% of Earth."),
        ("Mars was photographed by Asaph Hall.", "Mars was photographed by Percival Lowell."),
        ("Mars was photographed in 1877.", "Mars was photographed in 1878."),
        ("The sea is salty.", "The sea is not salty."),
        ("He did not see any canals on its surface.", "He did see canals on its surface."),
        ("The sea is salty.", "The sea isn't salty."),
    ],
)
def test_a_changed_number_name_date_or_negation_is_not_supported(
    grounder: Grounder, right: str, wrong: str
) -> None:
    assert ground(grounder, right).support is Support.SUPPORTED
    assert ground(grounder, wrong).support is not Support.SUPPORTED


def test_claims_are_supported_each_by_its_own_quote(grounder: Grounder) -> None:
    text = "Rivers carry dissolved salts into the sea, while yeast turns sugar into alcohol."
    sentence = ground(grounder, text)
    first, second = sentence.claims
    assert [first.evidence[0].passage_id, second.evidence[0].passage_id] == ["Sea:1", "Wine:2"]
    assert {e.passage_id for e in sentence.evidence} == {"Sea:1", "Wine:2"}


def test_a_sentence_with_an_unsupported_claim_is_supported_in_part_at_most(
    grounder: Grounder,
) -> None:
    text = "Rivers carry dissolved salts into the sea, while Napoleon ruled the French empire."
    sentence = ground(grounder, text)
    assert [claim.support for claim in sentence.claims] == ["supported", "unsupported"]
    assert sentence.support is not Support.SUPPORTED


@given(st.data())
def test_a_verbatim_copy_is_a_quotation_of_its_sentence_and_nothing_else_is(
    pool: EvidencePool, grounder: Grounder, data: st.DataObject
) -> None:
    copied = data.draw(st.sampled_from([sentence.text for sentence in pool.sentences]))
    before = data.draw(st.sampled_from(["", "Wine is old. "]))
    sentence = grounder.ground(before + copied, len(before), len(before + copied))
    assert sentence.quotation
    assert sentence.support is Support.SUPPORTED
    assert sentence.evidence[0].quote == copied
    place = data.draw(st.integers(0, len(copied) - 1))
    changed = copied[:place] + data.draw(st.sampled_from("x, ")) + copied[place:]
    assert not ground(grounder, changed).quotation


def test_a_copy_is_quoted_from_where_it_stands_among_sentences_of_the_same_words(
    encoder: Encoder,
) -> None:
    others = ["salty is the Sea!", "The sea is salty", "THE SEA IS SALTY.", "The sea is salty!"]
    hits = [make_hit(text, title=f"{n}", rank=n) for n, text in enumerate(others, 1)]
    hits.append(make_hit("The sea is salty.", title="copied", rank=9))
    grounder = Grounder(EvidencePool.gather("", hits, encoder), encoder)
    sentence = ground(grounder, "The sea is salty.")
    assert sentence.quotation
    assert sentence.evidence[0].passage_id == hits[-1].passage.id


words = st.sampled_from(f"{SEA} {WINE} {MARS} not 1878 Napoleon, while and because".split())
answers = st.text(max_size=80) | st.lists(words, min_size=1, max_size=30).map(" ".join)


@given(answers, st.text(max_size=20))
def test_spans_quotes_and_labels_hold_whatever_is_grounded(
    pool: EvidencePool, grounder: Grounder, text: str, before: str
) -> None:
    answer = before + text
    sentence = grounder.ground(answer, len(before), len(answer))
    assert (sentence.start, sentence.end) == (len(before), len(answer))
    assert_valid(sentence, pool)
    for claim in sentence.claims:
        assert_valid(claim, pool)
        assert sentence.start <= claim.start < claim.end <= sentence.end
        if sentence.support is Support.SUPPORTED:
            assert claim.support is Support.SUPPORTED


def assert_valid(found: Sentence | Claim, pool: EvidencePool) -> None:
    passages = {hit.passage.id: hit.passage.text for hit in pool.hits}
    assert bool(found.evidence) is (found.support is not Support.UNSUPPORTED)
    assert found.probability is not None
    assert 0 <= found.probability <= 1
    assert found.support is not Support.SUPPORTED or found.probability >= THRESHOLD
    for evidence in found.evidence:
        assert passages[evidence.passage_id][evidence.start : evidence.end] == evidence.quote
        assert 0 <= evidence.score <= 1


def test_a_sentence_is_grounded_as_soon_as_it_ends(grounder: Grounder) -> None:
    """What comes later changes nothing of it."""
    answer = f"{SEA} Wine is made from grapes, and yeast turns sugar into alcohol."
    whole = [grounder.ground(answer, *span) for span in sentence_spans(answer)]
    for end in range(len(answer)):
        spans = finished_spans(answer[:end])
        if spans and spans[-1][1] > end - 3:
            assert grounder.ground(answer[:end], *spans[-1]) == whole[len(spans) - 1]


def test_without_passages_nothing_is_supported(encoder: Encoder) -> None:
    for hits in ([], [make_hit("")], [make_hit(" \n")]):
        grounder = Grounder(EvidencePool.gather("Why?", hits, encoder), encoder)
        assert ground(grounder, "The sea is salty.").support is Support.UNSUPPORTED


def test_passages_and_sentences_longer_than_the_encoder_reads_are_grounded(
    encoder: Encoder,
) -> None:
    filler = "Wine is made from grapes and much else that nobody here asked for. "
    hit = make_hit(filler * 60 + "Rivers carry dissolved salts into the sea.", title="Long")
    grounder = Grounder(EvidencePool.gather("", [hit], encoder), encoder)
    last = ground(grounder, "Rivers carry dissolved salts into the sea.")
    assert last.support is Support.SUPPORTED
    assert hit.passage.text[last.evidence[0].start :].startswith("Rivers")
    assert ground(grounder, "salt " * 5000).end == 25_000
