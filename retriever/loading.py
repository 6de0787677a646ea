"""Models of encoders from safetensors: a folder, or a Hugging Face Hub id."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoTokenizer
from transformers.utils.hub import cached_file

from retriever.artefacts import file_digest
from retriever.encoder_names import ENCODER_NAMES
from retriever.errors import EncoderError
from retriever.int8_linear import multiply_in_int8

WEIGHTS = "model.safetensors"
PICKLED_ONLY = (
    "weights that are published as pytorch_model.bin alone are read from the copy in safetensors "
    "that the Hub keeps as a pull request: 'hf download ID --revision refs/pr/N --local-dir DIR' "
    "(docs/predicting.md), then name DIR"
)

Precision = Literal["auto", "float32", "bfloat16", "int8"]
"""What a model computes in; `auto` is bfloat16 where the device multiplies it, else float32. In
`int8` linear layers do (`int8_linear`), and the rest in float32."""
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, its tokenizer, and the SHA-256 of its weights.

    In int8 vectors differ by more than rounding does elsewhere, so the fingerprint is another.
    """

    model: Any
    tokenizer: Any
    fingerprint: str


def load_encoder_model(
    model_class: Any,
    folder: str,
    name: str,
    precision: Precision = "float32",
    device: Device = "cpu",
) -> Loaded:
    """Load one model of an encoder, ready to compute.

    Args:
        model_class: of transformers, or of its kind.
        folder: a folder or a Hub id.
        name: what the person called it.
        precision: that it computes in.
        device: that it computes on.

    Raises:
        EncoderError: there is no such model or device, its weights are not safetensors, or the
            device does not compute in this precision.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderError(
            f"the encoder '{name}' is to compute on 'cuda', and torch finds no such device; "
            "name 'cpu', or install a torch that knows the GPU"
        )
    if device == "cuda" and precision == "int8":
        raise EncoderError(
            f"the encoder '{name}' is to compute in int8 on 'cuda', and does so on 'cpu' alone; "
            "take bfloat16 there"
        )
    dtype = _dtype(precision, device)
    try:
        weights = cached_file(folder, WEIGHTS)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = model_class.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"cannot load the encoder '{name}': {error}; a model is a folder with {WEIGHTS} or a "
            f"Hub id that can be reached, and RAG_RT_ENCODER is {ENCODER_NAMES}; {PICKLED_ONLY}"
        ) from error
    model.to(device).train(False)
    fingerprint = file_digest(Path(str(weights)))
    if precision == "int8":
        multiply_in_int8(model)
        fingerprint = hashlib.sha256(f"{fingerprint} int8".encode()).hexdigest()
    return Loaded(model, tokenizer, fingerprint)


def _dtype(precision: Precision, device: Device) -> torch.dtype:
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    native = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device == "cuda"
        else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return torch.bfloat16 if native else torch.float32


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of everything a loaded model computes with, wherever it was loaded from."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
