"""Configuration of the Routing Transformer, in the names of the official `hparams.json`.

`docs/routing-transformer.md` explains each hyperparameter with a diagram or an example.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from transformers import PreTrainedConfig

from rag_rt.models.routing_transformer.errors import HyperparameterError

FFN_LAYERS = ("conv_hidden_relu", "geglu", "none")
DECODINGS = ("incremental", "exact")


class RoutingTransformerConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]  # a dataclass there
    """Hyperparameters; the defaults are those of the published ELI5 model.

    Raises:
        HyperparameterError: one is out of bounds, or contradicts another.
    """

    model_type = "routing_transformer"
    attribute_map = {  # noqa: RUF012  # as transformers declares it
        "max_position_embeddings": "max_target_length",
        "num_hidden_layers": "num_decoder_layers",
    }

    vocab_size: int = 98302  # hard-coded in the official program (SPEC §0.1)
    embedding_dims: int = 1032
    hidden_size: int = 1032
    filter_size: int = 4096
    num_encoder_layers: int = 0
    num_decoder_layers: int = 22
    attention_key_channels: int = 0  # 0: hidden_size
    attention_value_channels: int = 0
    max_target_length: int = 8192

    local_num_heads: int = 6
    local_relative: bool = True
    query_shape: int = 256
    memory_query_shape: int = 256
    memory_flange: int = 256
    max_relative_position: int = 513

    sparsity_cluster_num_heads: int = 2
    sparsity_cluster_size: int = 16
    sparsity_cluster_attention_window: int = 512
    sparsity_cluster_relative: bool = True
    sparsity_skip_first: int = 20
    share_qk: bool = True
    beta: float = 1e-4
    decay: float = 0.999
    ema: bool = True

    sparsity_strided_num_heads: int = 0
    sparsity_strided_relative: bool = False
    sparsity_cluster_strided_num_heads: int = 0
    sparsity_cluster_strided_relative: bool = True

    ffn_layer: str = "conv_hidden_relu"
    layer_preprocess_sequence: str = "none"
    layer_postprocess_sequence: str = "dan"
    norm_epsilon: float = 1e-6
    add_timing_signal: bool = False
    multiply_embedding_mode: str = "sqrt_depth"  # of the encoder's inputs only (SPEC §3.3)

    layer_prepostprocess_dropout: float = 0.0
    attention_dropout: float = 0.0
    relu_dropout: float = 0.0

    decoding: str = "incremental"
    initializer_range: float = 0.02  # ours: of a model that is not read from a checkpoint
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 1
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the hyperparameters.

        Raises:
            HyperparameterError: one is out of bounds, or contradicts another.
        """
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._check_bounds()
        self._check_heads()
        self._check_blocks()
        self._check_layers()

    @classmethod
    def from_hparams(cls, hparams: Mapping[str, Any] | Path | str, **overrides: Any) -> Self:
        """The configuration that an original `hparams.json` describes.

        Args:
            hparams: the file, or what it holds. Entries that do not concern the function of the
                model (optimiser, data, devices) are not read.
            overrides: fields that take precedence, such as `vocab_size`, which the file lacks.

        Raises:
            HyperparameterError: one is out of bounds, contradicts another, or asks for a variant
                that the official program cannot run.
        """
        if not isinstance(hparams, Mapping):
            hparams = _read(Path(hparams))
        for field, (allowed, rule) in _FIXED.items():
            if hparams.get(field, allowed) != allowed:
                raise HyperparameterError(field, f"{rule}, found {hparams[field]!r}")
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in hparams.items() if name in known}
        for name in ("query_shape", "memory_query_shape", "memory_flange"):
            if name in values:
                values[name] = _only_dimension(name, values[name])
        if values.get("ffn_layer", "none") not in FFN_LAYERS:
            values["ffn_layer"] = "conv_hidden_relu"  # the official program's default branch
        return cls(**{**values, **overrides})

    @property
    def num_attention_heads(self) -> int:
        """All heads of a layer, of whatever kind."""
        return (
            self.local_num_heads
            + self.sparsity_cluster_num_heads
            + self.sparsity_strided_num_heads
            + self.sparsity_cluster_strided_num_heads
        )

    @property
    def key_channels(self) -> int:
        """Channels of queries and keys, all heads together."""
        return self.attention_key_channels or self.hidden_size

    @property
    def value_channels(self) -> int:
        """Channels of values, all heads together."""
        return self.attention_value_channels or self.hidden_size

    def routes(self, layer: int) -> bool:
        """Whether a layer has routing heads; in the others these heads are local (SPEC §2)."""
        return self.sparsity_cluster_num_heads > 0 and layer >= self.sparsity_skip_first

    @property
    def not_causal(self) -> str | None:
        """The field by which values of later positions, or of a source, reach earlier ones."""
        routes = any(self.routes(layer) for layer in range(self.num_decoder_layers))
        strided = self.sparsity_strided_num_heads + self.sparsity_cluster_strided_num_heads
        for field, holds in (
            ("num_encoder_layers", self.num_encoder_layers > 0),
            ("share_qk", routes and not self.share_qk),
            ("sparsity_strided_num_heads", strided > 0),
        ):
            if holds:
                return field
        return None

    def _check_bounds(self) -> None:
        for field in _POSITIVE:
            _require(getattr(self, field) >= 1, field, "must be at least 1", getattr(self, field))
        for field in _COUNTS:
            _require(getattr(self, field) >= 0, field, "must not be negative", getattr(self, field))
        for field in ("layer_prepostprocess_dropout", "attention_dropout", "relu_dropout"):
            _require(
                0 <= getattr(self, field) < 1, field, "must be in [0, 1)", getattr(self, field)
            )
        _require(0 <= self.decay <= 1, "decay", "must be in [0, 1]", self.decay)
        _require(self.norm_epsilon > 0, "norm_epsilon", "must be positive", self.norm_epsilon)
        _require(
            self.ffn_layer in FFN_LAYERS,
            "ffn_layer",
            f"must be one of {', '.join(FFN_LAYERS)}",
            self.ffn_layer,
        )
        _require(
            self.decoding in DECODINGS,
            "decoding",
            f"must be one of {', '.join(DECODINGS)}",
            self.decoding,
        )

    def _check_heads(self) -> None:
        heads = self.num_attention_heads
        _require(heads >= 1, "local_num_heads", "a layer needs at least one head", heads)
        for field, channels in (
            ("attention_key_channels" if self.attention_key_channels else "hidden_size",
             self.key_channels),
            ("attention_value_channels" if self.attention_value_channels else "hidden_size",
             self.value_channels),
        ):  # fmt: skip
            _require(
                channels % heads == 0, field, f"must be a multiple of the {heads} heads", channels
            )
        if any(self.routes(layer) for layer in range(self.num_decoder_layers)):
            for field in ("sparsity_cluster_size", "sparsity_cluster_attention_window"):
                value = getattr(self, field)
                _require(
                    value >= 1, field, "must be at least 1 where there are routing heads", value
                )
        if self.sparsity_cluster_strided_num_heads:
            _require(
                self.sparsity_cluster_strided_num_heads <= self.sparsity_cluster_num_heads
                and self.sparsity_skip_first == 0,
                "sparsity_cluster_strided_num_heads",
                "must not exceed sparsity_cluster_num_heads, and needs sparsity_skip_first 0",
                self.sparsity_cluster_strided_num_heads,
            )

    def _check_blocks(self) -> None:
        query = self.query_shape
        _require(
            self.max_target_length % query == 0,
            "max_target_length",
            f"must be a multiple of query_shape ({query})",
            self.max_target_length,
        )
        _require(
            self.memory_flange % query == 0,
            "memory_flange",
            f"must be a multiple of query_shape ({query})",
            self.memory_flange,
        )
        _require(
            self.memory_flange % self.memory_query_shape == 0,
            "memory_flange",
            f"must be a multiple of memory_query_shape ({self.memory_query_shape})",
            self.memory_flange,
        )
        if any(self.routes(layer) for layer in range(self.num_decoder_layers)):
            _require(
                self.sparsity_cluster_attention_window <= self.max_target_length,
                "sparsity_cluster_attention_window",
                f"must not exceed max_target_length ({self.max_target_length})",
                self.sparsity_cluster_attention_window,
            )

    def _check_layers(self) -> None:
        before, after = self.layer_preprocess_sequence, self.layer_postprocess_sequence
        _require(
            before == "none" or (set(before) <= set("dn") and before.count("n") <= 1),
            "layer_preprocess_sequence",
            "must be 'none' or of the letters d (dropout) and n (norm, once)",
            before,
        )
        _require(
            after == "none" or (set(after) <= set("dan") and after.count("n") <= 1),
            "layer_postprocess_sequence",
            "must be 'none' or of the letters d (dropout), a (add) and n (norm, once)",
            after,
        )
        if self.num_encoder_layers:
            _require(
                before == "none",
                "layer_preprocess_sequence",
                "must be 'none' with num_encoder_layers > 0",
                before,
            )
            strided = self.sparsity_strided_num_heads + self.sparsity_cluster_strided_num_heads
            _require(
                strided == 0,
                "sparsity_strided_num_heads",
                "strided heads need num_encoder_layers 0",
                strided,
            )


_POSITIVE = (
    "vocab_size", "embedding_dims", "hidden_size", "filter_size", "num_decoder_layers",
    "max_target_length", "query_shape", "memory_query_shape", "max_relative_position",
)  # fmt: skip
_COUNTS = (
    "num_encoder_layers", "attention_key_channels", "attention_value_channels", "memory_flange",
    "local_num_heads", "sparsity_cluster_num_heads", "sparsity_cluster_size",
    "sparsity_cluster_attention_window", "sparsity_skip_first", "sparsity_strided_num_heads",
    "sparsity_cluster_strided_num_heads",
)  # fmt: skip
# Entries of hparams.json that would change the function in ways that no published model uses.
_FIXED: dict[str, tuple[Any, str]] = {
    "hash_items": (False, "must be false: the official program fails with it (SPEC §4.8)"),
    "norm_type": ("layer", "must be 'layer'"),
    "factored_logits": (False, "must be false"),
    "symbol_modality_num_shards": (1, "must be 1"),
}


def _require(holds: bool, field: str, rule: str, found: object) -> None:
    if not holds:
        raise HyperparameterError(field, f"{rule}, found {found!r}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HyperparameterError(
            "hparams", f"cannot read {path}: {error}; name the model's hparams.json"
        ) from error
    if not isinstance(content, dict):
        raise HyperparameterError("hparams", f"{path} must hold a JSON object")
    return content


def _only_dimension(field: str, value: Any) -> Any:
    """Of a shape, for example [256], the length; text has one dimension."""
    if not isinstance(value, (list, tuple)):
        return value
    _require(len(value) == 1, field, "must have one dimension", list(value))
    return value[0]
