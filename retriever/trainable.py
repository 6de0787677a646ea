"""The encoders that this project loads, as what is trained: from texts to vectors with a graph.

Texts are laid out and pooled as the encoder of the same name does it (`named_encoders`), which a
test holds to.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, DPRContextEncoder, DPRQuestionEncoder

from retriever.encoders import folder_of
from retriever.errors import EncoderError
from retriever.loading import Loaded, load_encoder_model
from retriever.realm import RealmEmbedder
from retriever.recipes import FAMILIES, Recipe, read_recipe
from retriever.text_model import mean
from retriever.training_data import Text


@dataclass(frozen=True, slots=True)
class _Form:
    """What is known of a kind of encoder."""

    model_classes: Mapping[str, Any]
    """Of each model, by the folder that it has in the encoder's."""
    vectors: Callable[[Any, Tensor], Tensor]
    """From a model's output and the attention mask (B, T) to vectors (B, D), float32."""
    recipe: Recipe | None = None
    """Of a sentence encoder: title and text are one text, not a pair of segments."""
    typed: bool = False
    """Whether the model is told which segment a token is of."""


_DPR = _Form(
    {"questions": DPRQuestionEncoder, "passages": DPRContextEncoder},
    lambda output, mask: output.pooler_output.float(),
)
_REALM = _Form({".": RealmEmbedder}, lambda output, mask: output.float(), typed=True)


def _sentence_form(recipe: Recipe) -> _Form:
    def vectors(output: Any, mask: Tensor) -> Tensor:
        states = output.last_hidden_state  # (B, T, D)
        pooled = mean(states, mask) if recipe.pooling == "mean" else states[:, 0].float()
        return nn.functional.normalize(pooled, dim=-1) if recipe.unit else pooled

    return _Form({".": AutoModel}, vectors, recipe)


class TrainableEncoder:
    """One model of questions and passages, or one of each."""

    def __init__(self, name: str, max_tokens: int) -> None:
        """Load an encoder in float32.

        Args:
            name: of the encoder (`encoder_names`).
            max_tokens: what is longer is cut off, or sooner where the encoder takes less.

        Raises:
            StarterPackMissing: "starter" is named and the starter pack is not installed.
            EncoderError: the name is none, or there is no such encoder.
        """
        kind, _, rest = name.partition(":")
        folders = rest.split(",") if kind == "dpr" else [rest]
        if kind == "dpr":
            self._form, self._prefix = _DPR, "dpr:"
        elif kind == "realm":
            self._form, self._prefix = _REALM, "realm:"
        else:
            family = next((f for f in FAMILIES if f == kind), None)
            folders = [rest if family else folder_of(name)]
            recipe = read_recipe(folders[0], family)
            max_tokens = min(max_tokens, recipe.max_tokens)
            self._form, self._prefix = _sentence_form(recipe), ""
        if len(folders) != len(self._form.model_classes):
            raise EncoderError(
                f"the encoder '{name}' does not name two models; expected "
                "dpr:QUESTION_MODEL,PASSAGE_MODEL"
            )
        classes = self._form.model_classes.items()
        self._loaded: dict[str, Loaded] = {
            place: load_encoder_model(model_class, folder, name)
            for (place, model_class), folder in zip(classes, folders, strict=True)
        }
        self._max_tokens = max_tokens
        self.cosine = self._form.recipe is not None and self._form.recipe.unit
        self.fingerprint = "+".join(loaded.fingerprint for loaded in self._loaded.values())

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """All weights, by the place of their model and their name in it."""
        return {
            f"{place}/{name}": parameter
            for place, loaded in self._loaded.items()
            for name, parameter in loaded.model.named_parameters()
        }

    def train(self, mode: bool) -> None:
        """Turn dropout on or off."""
        for model in self._models():
            model.train(mode)

    def to(self, device: torch.device) -> None:
        """Move all weights to a device."""
        for model in self._models():
            model.to(device)

    def _models(self) -> Iterator[Any]:
        return (loaded.model for loaded in self._loaded.values())

    def question_vectors(self, questions: Sequence[str]) -> Tensor:
        """Vectors (N, D), float32, of questions."""
        loaded = next(iter(self._loaded.values()))
        prefix = self._form.recipe.question_prefix if self._form.recipe else ""
        return self._vectors(loaded, [prefix + question for question in questions])

    def passage_vectors(self, texts: Sequence[Text]) -> Tensor:
        """Vectors (N, D), float32, of what questions are to find."""
        loaded = list(self._loaded.values())[-1]
        if self._form.recipe is None:
            return self._vectors(loaded, [t.title for t in texts], [t.text for t in texts])
        prefix = self._form.recipe.passage_prefix
        return self._vectors(loaded, [f"{prefix}{t.title}\n{t.text}" for t in texts])

    def _vectors(self, loaded: Loaded, *segments: list[str]) -> Tensor:
        longest = getattr(loaded.model.config, "max_position_embeddings", self._max_tokens)
        inputs = loaded.tokenizer(
            *segments,
            padding=True,
            truncation=True,
            max_length=min(self._max_tokens, loaded.tokenizer.model_max_length, longest),
            return_token_type_ids=self._form.typed,
            return_tensors="pt",
        ).to(loaded.model.device)
        return self._form.vectors(loaded.model(**inputs), inputs["attention_mask"])

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer, and the recipe of a sentence encoder."""
        for place, loaded in self._loaded.items():
            loaded.model.save_pretrained(folder / place)
            loaded.tokenizer.save_pretrained(folder / place)
        if self._form.recipe is not None:
            dimension = next(self._models()).config.hidden_size
            for name, content in _recipe_files(self._form.recipe, dimension).items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(json.dumps(content, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Take over the weights that were saved in a folder."""
        for place, model_class in self._form.model_classes.items():
            saved = load_encoder_model(model_class, str(folder / place), self.name_at(folder))
            self._loaded[place] = replace(self._loaded[place], model=saved.model)

    def name_at(self, folder: Path) -> str:
        """What the encoder is named once it is saved in a folder (`RAG_RT_ENCODER`)."""
        return self._prefix + ",".join(str(folder / place) for place in self._loaded)


def _recipe_files(recipe: Recipe, dimension: int) -> dict[str, Any]:
    """A recipe as sentence-transformers keeps it, and as `read_recipe` finds it."""
    modules = {"": "Transformer", "1_Pooling": "Pooling"}
    if recipe.unit:
        modules["2_Normalize"] = "Normalize"
    return {
        "modules.json": [
            {
                "idx": idx,
                "name": str(idx),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for idx, (path, kind) in enumerate(modules.items())
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": dimension,
            "pooling_mode_cls_token": recipe.pooling == "cls",
            "pooling_mode_mean_tokens": recipe.pooling == "mean",
        },
        "sentence_bert_config.json": {"max_seq_length": recipe.max_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": recipe.question_prefix, "document": recipe.passage_prefix},
            "similarity_fn_name": "cosine" if recipe.unit else "dot",
        },
    }
