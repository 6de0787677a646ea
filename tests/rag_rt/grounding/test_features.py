import numpy as np

from rag_rt.grounding.features import inverse_document_frequencies
from retriever.encoders import Encoder


def test_common_words_weigh_less_than_rare_ones(encoder: Encoder) -> None:
    (tokens,) = encoder.encode_tokens(["the river titanic"])
    the, river, titanic = inverse_document_frequencies()[tokens.ids]
    assert 0 <= the < river < titanic
    assert np.isfinite(inverse_document_frequencies()).all()
