"""Models of encoders from safetensors: a folder, or a Hugging Face Hub id."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils.hub import cached_file

from retriever.artefacts import file_digest
from retriever.encoder_names import ENCODER_NAMES
from retriever.errors import EncoderError

WEIGHTS = "model.safetensors"
PICKLED_ONLY = (
    "weights that are published as pytorch_model.bin alone are read from the copy in safetensors "
    "that the Hub keeps as a pull request: 'hf download ID --revision refs/pr/N --local-dir DIR' "
    "(docs/predicting.md), then name DIR"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, its tokenizer, and the SHA-256 of its weights."""

    model: Any
    tokenizer: Any
    fingerprint: str


def load_encoder_model(
    model_class: Any, folder: str, name: str, dtype: torch.dtype = torch.float32
) -> Loaded:
    """Load one model of an encoder, ready to compute.

    Args:
        model_class: of transformers, or of its kind.
        folder: a folder or a Hub id.
        name: what the person called it.
        dtype: that it computes in.

    Raises:
        EncoderError: there is no such model, or its weights are not safetensors.
    """
    try:
        weights = cached_file(folder, WEIGHTS)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = model_class.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"cannot load the encoder '{name}': {error}; a model is a folder with {WEIGHTS} or a "
            f"Hub id that can be reached, and RAG_RT_ENCODER is {ENCODER_NAMES}; {PICKLED_ONLY}"
        ) from error
    model.train(False)
    return Loaded(model, tokenizer, file_digest(Path(str(weights))))


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of everything a loaded model computes with, wherever it was loaded from."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
