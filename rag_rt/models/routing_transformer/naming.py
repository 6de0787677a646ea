"""Names: which variable of the TensorFlow program is which tensor of the model (SPEC §7)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from rag_rt.models.routing_transformer.errors import CheckpointError


class Target(NamedTuple):
    """A tensor of the model; `transposed` where TensorFlow stores (in, out) and torch (out, in)."""

    name: str
    transposed: bool = False


# Not of the model: optimiser slots (SPEC §7) and tensor2tensor's running means of losses.
_IGNORED = re.compile(r"Adafactor|^training/|^global_step$|^losses_avg/")
_LAYER = re.compile(r"(encoder|decoder)_layer_(\d+)/self_attention/(.+)")
_NORM = re.compile(r"layer_(pre)?postprocess(?:_(\d+))?/layer_norm/layer_norm_(scale|bias)")
_ATTENTION = re.compile(r"(self|enc_dec)_attention/(.+)")
_HEADS = re.compile(
    r"attention_nd/(local_nd|cluster_attention/cluster_attention"
    r"|cluster_strided_attention/cluster_strided_attention|strided_attention/strided_attention)/"
    r"(?:relative_positions_(keys|values)/embeddings|(means|ema_count|ema_means))"
)
_KINDS = {
    "local_nd": "local",
    "cluster_attention/cluster_attention": "routing",
    "cluster_strided_attention/cluster_strided_attention": "cluster_strided",
    "strided_attention/strided_attention": "strided",
}
_NORM_PARTS = {"scale": "weight", "bias": "bias"}
_WHOLE = {
    "embeddings/embedding": Target("embedding.weight"),
    "emb_dense/kernel": Target("embedding_projection.weight", True),
    "emb_dense/bias": Target("embedding_projection.bias"),
    "final_dense_1/kernel": Target("reduction.weight", True),
    "final_dense_1/bias": Target("reduction.bias"),
    "final_dense_2/kernel": Target("output.weight", True),
    "final_dense_2/bias": Target("output.bias"),
    "layer_prepostprocess/layer_norm/layer_norm_scale": Target("final.norm.weight"),
    "layer_prepostprocess/layer_norm/layer_norm_bias": Target("final.norm.bias"),
}
_ATTENTION_PARTS = {
    "q/kernel": "query.weight",
    "k/kernel": "key.weight",
    "v/kernel": "value.weight",
    "attention_nd/dense/kernel": "head_output.weight",
    "output_transform/kernel": "output.weight",
}
_FEED_FORWARD = {
    "ffn/conv1/kernel": Target("expand.weight", True),
    "ffn/conv1/bias": Target("expand.bias"),
    "ffn/conv2/kernel": Target("contract.weight", True),
    "ffn/conv2/bias": Target("contract.bias"),
    "ffn/weight1/kernel": Target("gate.weight", True),
    "ffn/weight2/kernel": Target("expand.weight", True),
    "ffn/weight3/kernel": Target("contract.weight", True),
}


def is_ignored(variable: str) -> bool:
    """Whether a variable belongs to training and not to the model."""
    return _IGNORED.search(variable) is not None


def target_of(variable: str, *, encoder_decoder: bool) -> Target:
    """The model's tensor that a variable is stored in.

    Raises:
        CheckpointError: the model has no such variable.
    """
    scope = variable.removeprefix("sparse_transformer/").removeprefix("body/")
    if scope in _WHOLE:
        return _WHOLE[scope]
    if re.fullmatch(r"symbol_modality_\d+_\d+/shared/weights_0", scope):
        return Target("source_embedding.weight")
    if match := _LAYER.fullmatch(scope):
        stack, layer, rest = match.groups()
        target = _in_layer(rest, cross=encoder_decoder and stack == "decoder")
        if target is not None:
            return Target(f"{stack}.{layer}.{target.name}", target.transposed)
    raise CheckpointError(
        f"unknown variable {variable!r}; a Routing Transformer has none of that name, "
        "so this is not such a checkpoint, or one of a variant that this program does not know"
    )


def ffn_layer(variables: Iterable[str]) -> str:
    """The kind of feed-forward layer that a checkpoint's names show (SPEC §2)."""
    names = list(variables)
    if any("/ffn/weight1/" in name for name in names):
        return "geglu"
    return "conv_hidden_relu" if any("/ffn/conv1/" in name for name in names) else "none"


def _in_layer(rest: str, *, cross: bool) -> Target | None:
    if rest in _FEED_FORWARD:
        target = _FEED_FORWARD[rest]
        return Target(f"feed_forward.body.{target.name}", target.transposed)
    if match := _NORM.fullmatch(rest):
        before, number, part = match.groups()
        sublayers = ["self_attention", *(["cross_attention"] if cross else []), "feed_forward"]
        index = int(number or 0)
        if index >= len(sublayers):
            return None
        side = "before" if before else "after"
        return Target(f"{sublayers[index]}.{side}.norm.{_NORM_PARTS[part]}")
    if match := _ATTENTION.fullmatch(rest):
        scope, part = match.groups()
        attention = f"{'self' if scope == 'self' else 'cross'}_attention.body"
        if part in _ATTENTION_PARTS:
            return Target(f"{attention}.{_ATTENTION_PARTS[part]}", True)
        if heads := _HEADS.fullmatch(part):
            kind, table, state = heads.groups()
            where = f"relative.{table}" if table else state
            return Target(f"{attention}.{_KINDS[kind]}.{where}")
    return None
