"""Models of readers from safetensors: a folder, or a Hugging Face Hub id."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoTokenizer

from rag_rt.errors import GeneratorError
from retriever.loading import PICKLED_ONLY, weights_digest


def load_reader_model(
    model_class: Any, folder: str, name: str, *, tokenizer_folder: str = ""
) -> tuple[Any, Any]:
    """Load a model and its tokenizer, ready to compute in float32.

    Args:
        model_class: of transformers.
        folder: a folder or a Hub id.
        name: what the person called it.
        tokenizer_folder: where in `folder` the tokenizer is.

    Raises:
        GeneratorError: there is no such model, or its weights are not safetensors.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, subfolder=tokenizer_folder)
        model = model_class.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise GeneratorError(
            f"cannot load the generator '{name}': {error}; name a folder with safetensors weights "
            f"or a Hub id that can be reached (--generator); {PICKLED_ONLY}"
        ) from error
    model.train(False)
    return model, tokenizer


def settings_of_model(model: Any) -> Mapping[str, Any]:
    """What the answers of a loaded model depend on: its weights, and how it says it generates."""
    generation = model.generation_config.to_diff_dict()
    generation.pop("transformers_version", None)
    return {"weights": weights_digest(model), "generation": generation}
