import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.answers import Sentence, Support
from rag_rt.evidence import EvidencePool
from rag_rt.grounding import THRESHOLD, Grounder
from retriever.encoders import Encoder
from tests.conftest import make_hit

SEA = "The sea is salty. Rivers carry dissolved salts into it. It covers 70.8% of Earth."
WINE = "Wine is made from grapes. Yeast turns their sugar into alcohol."


@pytest.fixture(scope="module")
def pool(encoder: Encoder) -> EvidencePool:
    hits = [make_hit(SEA, title="Sea", rank=1), make_hit(WINE, title="Wine", rank=2)]
    return EvidencePool.gather("Why is the sea salty?", hits, encoder)


@pytest.fixture(scope="module")
def grounder(pool: EvidencePool, encoder: Encoder) -> Grounder:
    return Grounder(pool, encoder)


def ground(grounder: Grounder, text: str) -> Sentence:
    return grounder.ground(text, 0, len(text))


def test_a_supported_sentence_is_quoted_from_its_passage(grounder: Grounder) -> None:
    sentence = ground(grounder, "Rivers carry dissolved salts into the sea.")
    assert sentence.support is Support.SUPPORTED
    (evidence,) = sentence.evidence
    assert evidence.passage_id == "Sea:1"
    assert evidence.quote == "Rivers carry dissolved salts into it."
    assert SEA[evidence.start : evidence.end] == evidence.quote
    assert THRESHOLD <= evidence.score <= 1


@pytest.mark.parametrize(
    "text",
    [
        "The moon is made of rock and dust.",
        "Napoleon was crowned in Paris.",
        "It covers 90.8% of Earth.",  # another number than the passage's
        "…",
    ],
)
def test_an_unsupported_sentence_is_labelled_not_cited(grounder: Grounder, text: str) -> None:
    sentence = ground(grounder, text)
    assert sentence.support is Support.UNSUPPORTED
    assert sentence.evidence == ()


def test_the_number_of_the_passage_supports(grounder: Grounder) -> None:
    assert ground(grounder, "The sea covers 70.8% of Earth.").support is Support.SUPPORTED


@given(st.text(max_size=120), st.text(max_size=20))
def test_quotes_stand_where_the_evidence_says_whatever_is_grounded(
    pool: EvidencePool, grounder: Grounder, text: str, before: str
) -> None:
    sentence = grounder.ground(before + text, len(before), len(before + text))
    assert (sentence.start, sentence.end) == (len(before), len(before + text))
    assert bool(sentence.evidence) is (sentence.support is Support.SUPPORTED)
    passages = {hit.passage.id: hit.passage.text for hit in pool.hits}
    for evidence in sentence.evidence:
        assert passages[evidence.passage_id][evidence.start : evidence.end] == evidence.quote


def test_without_passages_nothing_is_supported(encoder: Encoder) -> None:
    grounder = Grounder(EvidencePool.gather("Why?", [], encoder), encoder)
    assert ground(grounder, "The sea is salty.").support is Support.UNSUPPORTED
