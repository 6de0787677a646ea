"""From features to a probability of support: a logistic model with its coefficients in a file.

`support.json` was fitted by `benchmarks/grounding_support.py --write`; docs/grounding.md says on
what.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from rag_rt.grounding.features import NAMES

Floats = npt.NDArray[np.float64]

SUPPORT_MODEL = Path(__file__).with_name("support.json")


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """`sigmoid(features @ coefficients + intercept)`; features in the order of `NAMES`."""

    coefficients: Floats
    intercept: float

    @classmethod
    def load(cls, path: Path = SUPPORT_MODEL) -> Self:
        """The coefficients in a file that `save` wrote.

        Raises:
            ValueError: they are those of other features.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(content["coefficients"])
        if found != NAMES:
            raise ValueError(
                f"{path} holds coefficients of {', '.join(found)}; this version measures "
                f"{', '.join(NAMES)}; fit it anew with benchmarks/grounding_support.py (--write)"
            )
        return cls(np.array(list(content["coefficients"].values())), content["intercept"])

    def save(self, path: Path, note: str) -> None:
        """Write the coefficients with a note of how they came about."""
        named = dict(zip(NAMES, self.coefficients.round(4).tolist(), strict=True))
        content = {"note": note, "intercept": round(self.intercept, 4), "coefficients": named}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def probabilities(self, features: Floats) -> Floats:
        """Probabilities (N,) of features (N, F)."""
        logits = features @ self.coefficients + self.intercept
        probabilities: Floats = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        return probabilities
