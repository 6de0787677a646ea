"""Logistic models whose coefficients are kept in a file, each under the name of its feature."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """`sigmoid(features @ coefficients + intercept)`."""

    coefficients: Floats
    intercept: float

    @classmethod
    def load(cls, path: Path, names: tuple[str, ...]) -> Self:
        """The coefficients in a file that `save` wrote.

        Args:
            path: the file.
            names: of the features, in the order in which they are measured.

        Raises:
            ValueError: they are those of other features.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(content["coefficients"])
        if found != names:
            raise ValueError(
                f"{path} holds coefficients of {', '.join(found)}; this version measures "
                f"{', '.join(names)}; fit it anew as its note says"
            )
        return cls(np.array(list(content["coefficients"].values())), content["intercept"])

    def save(self, path: Path, names: tuple[str, ...], note: str) -> None:
        """Write the coefficients with a note of how they came about."""
        named = dict(zip(names, self.coefficients.round(4).tolist(), strict=True))
        content = {"note": note, "intercept": round(self.intercept, 4), "coefficients": named}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def probabilities(self, features: Floats) -> Floats:
        """Probabilities (N,) of features (N, F)."""
        logits = features @ self.coefficients + self.intercept
        probabilities: Floats = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        return probabilities
