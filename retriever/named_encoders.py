"""Encoders by name (`encoder_names`), as `RAG_RT_ENCODER` and `--retriever` give them."""

from retriever.dpr import DprEncoder
from retriever.encoders import DualEncoder, Encoder
from retriever.errors import EncoderError
from retriever.realm import RealmEncoder


def open_encoder(name: str) -> DualEncoder:
    """Load the encoder of a name.

    Raises:
        StarterPackMissing: "starter" is named and the starter pack is not installed.
        EncoderError: the name is none, or there is no such encoder.
    """
    kind, colon, rest = name.partition(":")
    if kind == "dpr" and colon:
        questions, comma, passages = rest.partition(",")
        if not (questions and comma and passages):
            raise EncoderError(
                f"the encoder '{name}' does not name two models; expected "
                "dpr:QUESTION_MODEL,PASSAGE_MODEL (RAG_RT_ENCODER)"
            )
        return DprEncoder(questions, passages)
    if kind == "realm" and colon:
        return RealmEncoder(rest)
    return Encoder(name)
