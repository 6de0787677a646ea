"""What the official TensorFlow program computed, recorded once: fixtures in and beside the tree."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.checkpoints import NumpyVariables
from rag_rt.models.routing_transformer.conversion import load_model
from rag_rt.models.routing_transformer.heads import RoutingHeads
from rag_rt.models.routing_transformer.naming import target_of

IN_TREE = Path(__file__).parents[2] / "golden" / "routing_transformer"
TEACHER_FORCED = [
    "a1_local_skip_all",
    "a2_local_wide_flange_clipped",
    "b1_routing_all_equal",
    "b2_routing_all_under",
    "b3_routing_all_over",
    "c1_eli5_like",
    "d1_no_share_qk",
    "e1_encdec_routing",
    "e2_encdec_local",
    "f1_strided",
    "f2_cluster_strided",
    "g1_wt103_style",
    "g2_prenorm",
    "t1_train_ema",
    "t2_train_no_ema",
]


class Recorded:
    """One fixture: a model, what it read and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = NumpyVariables.load(folder / "weights.npz")
        self.arrays = dict(np.load(folder / "io.npz"))

    def model(self) -> RoutingTransformerForCausalLM:
        return load_model(self.variables, self.folder / "hparams.json")

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    @property
    def inputs(self) -> Tensor | None:
        return self.tensor("inputs") if "inputs" in self.arrays else None

    def training(self, kind: str) -> dict[str, Tensor]:
        """The recorded `grad`, `before` or `after` of each tensor of the model."""
        arrays = np.load(self.folder / "train.npz")
        found = {}
        for name in arrays.files:
            prefix, variable = name.split("/", 1)
            if prefix == kind:
                target = target_of(variable, encoder_decoder=False)
                tensor = torch.from_numpy(arrays[name])
                found[target.name] = tensor.T if target.transposed else tensor
        return found


class SeenWindows:
    """The windows that a model's routing heads choose, in the order of the official names."""

    def __init__(self, model: RoutingTransformerForCausalLM) -> None:
        self.found: dict[str, NDArray[Any]] = {}
        for name, module in model.named_modules():
            if isinstance(module, RoutingHeads):
                module.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        stack, layer, attention, _, kind = name.split(".")
        scope = {"self_attention": "self_attention", "cross_attention": "enc_dec_attention"}
        kinds = {"routing": "cluster", "cluster_strided": "cluster_strided"}
        key = (
            f"rec/{stack}_layer_{layer}/self_attention/{scope[attention]}/attention_nd/"
            f"{kinds[kind]}_attention::idx"
        )

        def hook(_module: Any, _arguments: Any, routed: Any) -> None:
            self.found[f"{key}#0"] = routed.query_windows.numpy()
            self.found[f"{key}#1"] = routed.key_windows.numpy()

        return hook
