"""A system by the names of its generator and its retriever."""

from pathlib import Path

import torch

from eval.systems.pipeline import PipelineReader
from eval.systems.rag import MARGINALISATIONS, RagReader
from eval.systems.routing_transformer import RoutingTransformerReader
from eval.systems.seq2seq import FORMS, Seq2SeqReader
from eval.systems.system import Reader, System
from rag_rt.answerer import Answerer
from rag_rt.errors import SettingsError
from rag_rt.retrieval import open_retriever
from rag_rt.settings import Settings
from retriever.searching import Retriever

CLOSED_BOOK = "none"  # the name of no retriever
PIPELINE = "pipeline"  # what a generator without a kind is read by
KINDS = (*FORMS, *MARGINALISATIONS, "rt")


def open_system(
    settings: Settings, *, k: int, max_tokens: int, seed: int, check_coverage: bool = True
) -> System:
    """Load the system that the settings name.

    Args:
        settings: `generator`, `encoder` and `index` name its parts.
        k: passages a question.
        max_tokens: the longest answer, in tokens of the generator.
        seed: of what is sampled.
        check_coverage: whether the pipeline may answer that the corpus holds nothing. An ablation
            turns it off: from random passages that would be its answer to nearly everything.

    Raises:
        SettingsError: the names are no system.
        RetrieverError, RagRtError: something is missing, damaged or does not fit together; the
            message names what mends it.
    """
    kind, colon, folder = settings.generator.partition(":")
    closed_book = settings.encoder == CLOSED_BOOK
    kind = kind if colon else PIPELINE
    _check_names(kind, settings.generator, closed_book=closed_book)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if kind == PIPELINE:
        answerer = Answerer.from_settings(settings, check_coverage=check_coverage)
        pipeline = PipelineReader(answerer, max_tokens=max_tokens, seed=seed)
        return System(pipeline, answerer.retriever, k)
    # The retriever first: an index that is missing is said before a large model is loaded.
    retriever = None if closed_book else _open_retriever(settings)
    return System(_open_reader(kind, folder, max_tokens, seed), retriever, k)


def _check_names(kind: str, generator: str, *, closed_book: bool) -> None:
    if kind not in (PIPELINE, *KINDS):
        kinds = ", ".join(f"{name}:MODEL" for name in KINDS)
        raise SettingsError(
            f"there is no generator of the kind '{kind}' ('{generator}'); name a chat model, or "
            f"one of {kinds} (--generator)"
        )
    if closed_book and kind in (PIPELINE, *MARGINALISATIONS):
        raise SettingsError(
            f"the generator '{generator}' writes from passages; name a --retriever, or a generator "
            "that can do without"
        )
    if kind in FORMS and FORMS[kind].closed_book and not closed_book:
        raise SettingsError(
            f"the generator '{generator}' is a closed book, which reads no passages; "
            f"add --retriever {CLOSED_BOOK}"
        )


def _open_retriever(settings: Settings) -> Retriever:
    return open_retriever(settings)


def _open_reader(kind: str, folder: str, max_tokens: int, seed: int) -> Reader:
    if kind == "rt":
        return RoutingTransformerReader(Path(folder), max_tokens=max_tokens, seed=seed)
    if kind in FORMS:
        return Seq2SeqReader(kind, folder, max_tokens=max_tokens)
    return RagReader(folder, by_token=kind == "rag-token", max_tokens=max_tokens)
