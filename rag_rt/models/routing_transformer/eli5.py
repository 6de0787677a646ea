"""The published ELI5 recipe: prompt, sampling and answer of Krishna et al. (2021) (SPEC §6)."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from rag_rt.models.routing_transformer.errors import InputError
from rag_rt.models.routing_transformer.modeling import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.sampling import official_sampling
from rag_rt.models.routing_transformer.tokenization import RoutingTransformerTokenizer

CHUNK = 288  # ids of each retrieval, and of the question
SEPARATOR = "---"  # between question and answer
NUCLEUS = 0.9  # the driver's default
ANSWER_ROOM = 512  # ids that the evaluation script leaves for an answer: 2816 - 8 * 288


def eli5_prompt(
    tokenizer: RoutingTransformerTokenizer, question: str, retrievals: Sequence[str]
) -> list[int]:
    """The ids of a prompt: the retrievals, best last, and the question, 288 ids each.

    Args:
        tokenizer: of the published vocabulary.
        question: in plain words.
        retrievals: texts, best first; the published system gives seven.
    """
    if SEPARATOR not in question:
        question += SEPARATOR
    pieces = [*reversed(retrievals), question]
    return list(chain.from_iterable(_chunk(tokenizer, piece) for piece in pieces))


def eli5_answer(
    model: RoutingTransformerForCausalLM,
    tokenizer: RoutingTransformerTokenizer,
    question: str,
    retrievals: Sequence[str],
    *,
    nucleus: float = NUCLEUS,
    temperature: float = 1.0,
    room: int = ANSWER_ROOM,
) -> str:
    """The answer of the published system, sampled; `torch.manual_seed` makes it repeatable.

    The official driver writes on after the end of an answer and cuts there; this stops there. With
    `exact` decoding, `model.config.max_target_length` must be the length that is decoded (2816 in
    the evaluation script), because routing depends on it (SPEC §6).

    Raises:
        InputError: a sampling control is out of bounds, or the model has no room for an answer.
    """
    prompt = eli5_prompt(tokenizer, question, retrievals)
    room = min(room, model.config.max_target_length - len(prompt))
    if room < 1:
        raise InputError(
            "retrievals",
            f"the prompt has {len(prompt):,} ids and the model reads "
            f"{model.config.max_target_length:,}; give fewer retrievals",
        )
    ids = torch.tensor([prompt], device=model.device)
    transformers_model: Any = model  # generate() declares no types that a checker could follow
    written = transformers_model.generate(
        ids,
        attention_mask=torch.ones_like(ids),  # PAD is an ordinary token (SPEC §0.10)
        max_new_tokens=room,
        do_sample=True,
        top_k=0,
        logits_processor=official_sampling(nucleus, temperature),
    )[0, len(prompt) :].tolist()
    end = tokenizer.eos_token_id
    ids_of_answer = written[: written.index(end)] if end in written else written
    text = tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(ids_of_answer))
    return " ".join(text.split())


def _chunk(tokenizer: RoutingTransformerTokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text.strip())[:CHUNK]
    return ids + [0] * (CHUNK - len(ids))
