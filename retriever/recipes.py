"""How a sentence encoder is to be used: pooling, scaling, prefixes, length.

Read from the files that sentence-transformers keeps beside the weights, else known by the family
that a name tells.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from transformers.utils.hub import cached_file

from retriever.errors import EncoderError

Pooling = Literal["mean", "cls"]
Family = Literal["contriever", "bge", "e5"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """From texts to vectors. As it stands: a mean-pooled sentence encoder of unit vectors."""

    pooling: Pooling = "mean"
    unit: bool = True
    """Whether vectors are scaled to length 1."""
    question_prefix: str = ""
    passage_prefix: str = ""
    max_tokens: int = 256  # what all-MiniLM-L6-v2 was trained with (its sentence_bert_config.json)

    @property
    def symmetric(self) -> bool:
        """Whether the cosine of any two texts says how much they have in common."""
        return self.unit and not self.question_prefix and not self.passage_prefix


FAMILIES: dict[Family, Recipe] = {
    # Izacard et al. 2022: the mean, compared by inner products
    "contriever": Recipe(unit=False, max_tokens=512),
    # Xiao et al. 2023: [CLS]; the instruction of the English models, v1 and v1.5
    "bge": Recipe(
        "cls",
        question_prefix="Represent this sentence for searching relevant passages: ",
        max_tokens=512,
    ),
    # Wang et al. 2022
    "e5": Recipe(question_prefix="query: ", passage_prefix="passage: ", max_tokens=512),
}
_NAMES: dict[Family, str] = {
    "contriever": r"contriever",
    "bge": r"bge-(small|base|large)-en",
    "e5": r"(^|-)e5-(small|base|large)(?!.*instruct)",
}
_MODULES = {"Transformer", "Pooling", "Normalize"}
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}
LONGEST = 512  # BERT's positions: the length where files with modules name none


def read_recipe(folder: str, family: Family | None = None) -> Recipe:
    """The recipe of a model.

    Args:
        folder: a folder or a Hugging Face Hub id.
        family: what the model is, where its name and files do not tell; its recipe is then taken.

    Raises:
        EncoderError: its files ask for something else than the mean or [CLS].
    """
    given = _length(folder)
    if family is not None:
        known = FAMILIES[family]
        return replace(known, max_tokens=given or known.max_tokens)
    known = _by_name(folder) or Recipe()
    modules = _read(folder, "modules.json")
    if modules is None:
        return replace(known, max_tokens=given or known.max_tokens)
    kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
    if not kinds.keys() <= _MODULES:
        raise EncoderError(
            f"the encoder '{folder}' has the module {min(kinds.keys() - _MODULES)}; encoders of "
            f"sentence-transformers can have {', '.join(sorted(_MODULES))} here; name another"
        )
    config = _read(folder, "config_sentence_transformers.json") or {}
    prompts = config.get("prompts") or {}
    passage = next((prompts[key] for key in ("document", "passage") if prompts.get(key)), "")
    return Recipe(
        _pooling(folder, kinds.get("Pooling")),
        "Normalize" in kinds or (known.unit and config.get("similarity_fn_name") != "dot"),
        prompts.get("query") or known.question_prefix,
        passage or known.passage_prefix,
        given or LONGEST,
    )


def _by_name(folder: str) -> Recipe | None:
    name = Path(folder).name.lower()
    return next((FAMILIES[f] for f, pattern in _NAMES.items() if re.search(pattern, name)), None)


def _pooling(folder: str, path: str | None) -> Pooling:
    config = (_read(folder, f"{path}/config.json") if path else None) or {}
    named = config.get("pooling_mode", "mean")
    modes = [named] if isinstance(named, str) else list(named)
    flags = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
    found = [_POOLINGS.get(key, key) for key in flags] or modes
    if found not in (["mean"], ["cls"]):
        raise EncoderError(
            f"the encoder '{folder}' is pooled by {', '.join(found)}; encoders are pooled by the "
            "mean or [CLS] here; name another"
        )
    return cast("Pooling", found[0])


def _length(folder: str) -> int | None:
    config = _read(folder, "sentence_bert_config.json") or {}
    length = config.get("max_seq_length")
    return None if length is None else int(length)


def _read(folder: str, name: str) -> Any:
    """The content of a JSON file; None where there is none."""
    try:
        return json.loads(Path(str(cached_file(folder, name))).read_bytes())
    except OSError:
        return None
    except ValueError as error:
        raise EncoderError(f"{name} of the encoder '{folder}' is no JSON: {error}") from error
