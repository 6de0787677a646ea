"""A system by the names of its generator and its retriever."""

from eval.systems.pipeline import PipelineReader
from eval.systems.system import System
from rag_rt.answerer import Answerer
from rag_rt.settings import Settings


def open_system(
    settings: Settings, *, k: int, max_tokens: int, seed: int, check_coverage: bool = True
) -> System:
    """Load the system that the settings name.

    Args:
        settings: `generator`, `encoder` and `index` name its parts.
        k: passages a question.
        max_tokens: the longest answer, in tokens of the generator.
        seed: of every answer that is sampled.
        check_coverage: whether the pipeline may answer that the corpus holds nothing. An ablation
            turns it off: from random passages that would be its answer to nearly everything.

    Raises:
        RetrieverError, RagRtError: something is missing, damaged or does not fit together; the
            message names what mends it.
    """
    answerer = Answerer.from_settings(settings, check_coverage=check_coverage)
    reader = PipelineReader(answerer, max_tokens=max_tokens, seed=seed)
    return System(reader, answerer.retriever, k)
