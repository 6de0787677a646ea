"""Encoders by name (`encoder_names`), as `RAG_RT_ENCODER` and `--retriever` give them."""

from retriever.dpr import DprEncoder
from retriever.encoders import DualEncoder, Encoder, TextEncoder, folder_of
from retriever.errors import EncoderError
from retriever.loading import Device, Precision
from retriever.realm import RealmEncoder
from retriever.recipes import FAMILIES, read_recipe


def open_encoder(name: str, precision: Precision = "auto", device: Device = "cpu") -> DualEncoder:
    """Load the encoder of a name.

    Returns:
        an `Encoder` where any two texts may be compared by their cosine, else another.

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
        return DprEncoder(questions, passages, precision, device)
    if kind == "realm" and colon:
        return RealmEncoder(rest, precision, device)
    if kind in FAMILIES and colon:
        return TextEncoder(rest, family=kind, precision=precision, device=device)
    text_encoder = Encoder if read_recipe(folder_of(name)).symmetric else TextEncoder
    return text_encoder(name, precision=precision, device=device)
