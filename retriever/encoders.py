"""What encoders have in common, and those of one model for questions and passages."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModel

from retriever import starter_pack
from retriever.loading import Device, Precision, load_encoder_model
from retriever.passages import Passage
from retriever.recipes import Family, Recipe, read_recipe
from retriever.text_model import STEP, TextModel, first_state, mean
from retriever.vectors import DualEncoder as DualEncoder
from retriever.vectors import Progress as Progress
from retriever.vectors import Vectors as Vectors

TOKEN_BATCH = 32  # texts whose tokens are computed together


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The tokens of a text (T of them), without the special ones."""

    starts: npt.NDArray[np.int64]
    """(T,) offsets in characters at which the tokens begin."""
    ids: npt.NDArray[np.int64]
    """(T,) numbers in the vocabulary."""
    layers: tuple[Vectors, Vectors, Vectors]
    """Three times (T, D), unit length: of the embeddings, the middle layer and the last one."""


class TextEncoder:
    """One model for questions and passages, pooled and prefixed by its recipe."""

    def __init__(
        self,
        name: str,
        *,
        family: Family | None = None,
        precision: Precision = "auto",
        device: Device = "cpu",
    ) -> None:
        """Load an encoder.

        Args:
            name: "starter" for the starter pack's, or a folder, or a Hugging Face Hub id.
            family: whose recipe it is used by, where its files and name do not tell.
            precision: that it computes in; vectors are float32 in any.
            device: that it computes on.

        Raises:
            StarterPackMissing: "starter" is named and the starter pack is not installed.
            EncoderError: there is no such encoder, its weights are not safetensors, or it is
                pooled in a way that is not known here.
        """
        self._folder, self._precision, self._device = folder_of(name), precision, device
        loaded = load_encoder_model(AutoModel, self._folder, name, precision, device)
        self.name = "all-MiniLM-L6-v2" if name == "starter" else name
        if family is not None:
            self.name = f"{family}:{name}"
        self.recipe = recipe = read_recipe(self._folder, family)
        self.cosine = recipe.unit
        self.fingerprint = _fingerprint(loaded.fingerprint, recipe, recipe.passage_prefix)
        self.question_fingerprint = _fingerprint(loaded.fingerprint, recipe, recipe.question_prefix)
        self.dimension: int = loaded.model.config.hidden_size
        self._text = TextModel(loaded.model, loaded.tokenizer, recipe.max_tokens)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Vectors (N, D), float32, of texts as they are, in their order."""
        return self._text.encode((texts,), self._pool, self.dimension, progress)

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        """Vectors (N, D) of questions."""
        return self.encode([self.recipe.question_prefix + question for question in questions])

    def encode_passages(
        self, passages: Sequence[Passage], progress: Progress | None = None
    ) -> Vectors:
        """Vectors (N, D) of passages: the title goes before the text, as in DPR."""
        prefix = self.recipe.passage_prefix
        return self.encode([f"{prefix}{p.title}\n{p.text}" for p in passages], progress)

    def _pool(self, states: Tensor, kept: Tensor) -> Tensor:
        pooled = (mean if self.recipe.pooling == "mean" else first_state)(states, kept)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.recipe.unit else pooled


class Encoder(TextEncoder):
    """A sentence encoder: any two texts are compared by the cosine of their vectors."""

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text with their vectors; what is too long for the model is cut off."""
        return [
            tokens
            for first in range(0, len(texts), TOKEN_BATCH)
            for tokens in self._token_batch(texts[first : first + TOKEN_BATCH])
        ]

    @cached_property
    def _plain_model(self) -> Any:
        """The model as transformers computes it: support was fitted to its tokens' vectors.

        In bfloat16, another order of sums moves their cosines by up to 0.01. Loaded when it is
        first asked for, since building an index never asks. 8 bits move them farther.
        """
        precision: Precision = "auto" if self._precision == "int8" else self._precision
        loaded = load_encoder_model(AutoModel, self._folder, self.name, precision, self._device)
        return loaded.model

    @torch.inference_mode()
    def _token_batch(self, texts: Sequence[str]) -> list[TokenVectors]:
        inputs = self._text.tokenizer(
            list(texts),
            padding=True,
            pad_to_multiple_of=STEP,
            truncation=True,
            max_length=self._text.max_tokens,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        starts = inputs.pop("offset_mapping")[..., 0].numpy()  # (B, T)
        ordinary = inputs.pop("special_tokens_mask").numpy() == 0  # (B, T), false on padding too
        ids = inputs["input_ids"].numpy()
        model = self._plain_model
        states = model(**inputs.to(model.device), output_hidden_states=True).hidden_states
        layers = [
            torch.nn.functional.normalize(states[layer].float(), dim=-1).cpu().numpy()  # (B, T, D)
            for layer in (0, len(states) // 2, -1)
        ]
        return [
            TokenVectors(
                starts[row, kept],
                ids[row, kept],
                (layers[0][row, kept], layers[1][row, kept], layers[2][row, kept]),
            )
            for row, kept in enumerate(ordinary)
        ]


def folder_of(name: str) -> str:
    """The folder or Hub id of a sentence encoder.

    Raises:
        StarterPackMissing: "starter" is named and the starter pack is not installed.
    """
    return str(starter_pack.locate(starter_pack.ENCODER).parent) if name == "starter" else name


def _fingerprint(weights: str, recipe: Recipe, prefix: str) -> str:
    """Of what vectors depend on: the weights' own digest where the recipe is the usual one.

    float32 and bfloat16 have one fingerprint: their vectors are equal within rounding.
    """
    made = (recipe.pooling, recipe.unit, prefix, recipe.max_tokens)
    usual = Recipe()
    if made == (usual.pooling, usual.unit, "", usual.max_tokens):
        return weights
    return hashlib.sha256(json.dumps([weights, *made]).encode()).hexdigest()
