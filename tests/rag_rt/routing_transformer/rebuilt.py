"""The published model's shape with weights rebuilt from a rule (SPEC §10)."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# (end of the name, base, scale); a scale of None is the kernel's fan-in to the power of -0.5.
_RULES: list[tuple[str, float, float | None]] = [
    ("layer_norm_scale", 1, 0.1),
    ("layer_norm_bias", 0, 0.1),
    ("cluster_attention/relative_positions_keys/embeddings", 0, 4.0),
    ("local_nd/relative_positions_keys/embeddings", 0, 1.0),
    ("relative_positions_values/embeddings", 0, 0.3),
    ("/means", 0, 1),
    ("ema_means", 0, 1),
    ("ema_count", 5, 1),
    ("embeddings/embedding", 0, 1),
    ("/bias", 0, 0.1),
    ("output_transform/kernel", 0, None),
    ("conv2/kernel", 0, None),
    ("/kernel", 0, None),
]


class RebuiltVariables:
    """Variables that are computed when they are read."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    @classmethod
    def of_real_model(cls, fixture: Path) -> "RebuiltVariables":
        """All variables of the published ELI5 model."""
        listed = json.loads((fixture / "variables.json").read_bytes())["variables"]
        return cls({name: tuple(entry["shape"]) for name, entry in listed.items()})

    def read(self, name: str) -> NDArray[Any]:
        shape = self.shapes[name]
        seed = zlib.crc32(name.encode()) % 2**32
        z = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        end, base, scale = next(rule for rule in _RULES if name.endswith(rule[0]))
        if scale is None:
            quarter = 0.25 if end in ("output_transform/kernel", "conv2/kernel") else 1
            scale = quarter * shape[0] ** -0.5
        if end == "ema_count":
            z = np.abs(z)
        value: NDArray[Any] = np.float32(base) + np.float32(scale) * z
        return value
