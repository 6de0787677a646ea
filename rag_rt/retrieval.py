"""The retriever that the settings name."""

from rag_rt.settings import Settings
from retriever.encoders import DualEncoder
from retriever.named_encoders import open_encoder
from retriever.named_indexes import open_index
from retriever.searching import Retriever


def open_retriever(settings: Settings) -> Retriever:
    """Open index, encoder and, where one is named, reranker.

    Raises:
        RetrieverError: something is missing or damaged, or does not fit together.
    """
    index = open_index(settings.retriever, settings.index_directory)
    reranker = None
    if settings.reranker is not None:
        from retriever.reranking import Reranker  # brings models of transformers along

        reranker = Reranker(settings.reranker)
    return Retriever(index, encoder_of(settings), reranker=reranker)


def encoder_of(settings: Settings) -> DualEncoder:
    """Load the encoder that the settings name.

    Raises:
        StarterPackMissing, EncoderError: it cannot be loaded.
    """
    return open_encoder(settings.encoder, settings.encoder_precision, settings.encoder_device)
