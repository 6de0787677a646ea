"""The layers of the Routing Transformer: attention with heads of several kinds, and feed-forward.

Glossary as in `rag_rt.attention`; E hidden size. Heads stand in the order routing,
cluster-strided, strided, local (SPEC §0.9).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, relu

from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig
from rag_rt.models.routing_transformer.heads import LocalHeads, Memory, RoutingHeads, StridedHeads


class Attended(NamedTuple):
    """What a layer, or a part of it, gives: states and its k-means loss."""

    states: Tensor
    loss: Tensor


class Attention(nn.Module):
    """Attention with heads of several kinds.

    Args:
        config: the hyperparameters.
        layer: the number of the layer, from 0.
        causal: hide what follows; False in the encoder, and towards it.
        cross: attend to the encoder's output.
    """

    def __init__(
        self,
        config: RoutingTransformerConfig,
        layer: int,
        *,
        causal: bool = True,
        cross: bool = False,
    ) -> None:
        super().__init__()
        size, keys, values = config.hidden_size, config.key_channels, config.value_channels
        depth = values // config.num_attention_heads
        self.heads = config.num_attention_heads
        self.query = nn.Linear(size, keys, bias=False)
        self.key = nn.Linear(size, keys, bias=False)
        self.value = nn.Linear(size, values, bias=False)
        self.head_output = nn.Linear(depth, depth, bias=False)  # one for all heads (SPEC §0.8)
        self.output = nn.Linear(values, size, bias=False)
        local_heads = config.local_num_heads
        self.routing: RoutingHeads | None = None
        self.cluster_strided: RoutingHeads | None = None
        self.strided: StridedHeads | None = None
        self.local: LocalHeads | None = None
        if config.routes(layer):
            self.routing = RoutingHeads(config, causal=causal, cross=cross)
        else:
            local_heads += config.sparsity_cluster_num_heads
        if config.sparsity_cluster_strided_num_heads:
            self.cluster_strided = RoutingHeads(config, causal=causal, cross=cross, strided=True)
        if config.sparsity_strided_num_heads:
            self.strided = StridedHeads(config)
        if local_heads:
            self.local = LocalHeads(config, local_heads, causal=causal, cross=cross)

    def forward(self, x: Tensor, memory: Memory) -> Attended:
        """Attend: x (B, L, E) to (B, L, E)."""
        q, k, v = self.projected(x, x if memory.states is None else memory.states)
        outputs: list[Tensor] = []
        loss = x.new_zeros(())
        start = 0  # the first head that is not consumed yet
        for routing in (self.routing, self.cluster_strided):
            if routing is not None:
                heads = slice(start, start := start + routing.heads)
                routed = routing(q[:, heads], k[:, heads], v[:, heads], memory)
                outputs.append(routed.out)
                loss = loss + routed.loss
        if self.strided is not None:
            heads = slice(start, start := start + self.strided.heads)
            outputs.append(self.strided(q[:, heads], k[:, heads], v[:, heads]))
        if self.local is not None:
            heads = slice(start, start + self.local.heads)
            outputs.append(self.local(q[:, heads], k[:, heads], v[:, heads], memory.padding))
        return Attended(self.merged(torch.cat(outputs, 1)), loss)

    def projected(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, scaled by D^-0.5, keys and values of all heads: (B, H, L or S, D) each."""
        q, k, v = (
            project(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, states in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        return q * q.shape[-1] ** -0.5, k, v

    def merged(self, heads: Tensor) -> Tensor:
        """The layer's output of what its heads give: (B, H, L, D) to (B, L, E)."""
        merged: Tensor = self.output(self.head_output(heads).transpose(1, 2).flatten(2))
        return merged


class FeedForward(nn.Module):
    """relu(x W1 + b1) W2 + b2 (`conv_hidden_relu`)."""

    def __init__(self, config: RoutingTransformerConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.filter_size)
        self.contract = nn.Linear(config.filter_size, config.hidden_size)
        self.dropout = config.relu_dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        # In place would cost autograd two copies and save nothing.
        hidden = relu(self.expand(x), inplace=not torch.is_grad_enabled())
        out: Tensor = self.contract(dropout(hidden, self.dropout, self.training))
        return out


class GatedFeedForward(nn.Module):
    """(gelu(x W1) * (x W2)) W3 with the tanh approximation of gelu (`geglu`)."""

    def __init__(self, config: RoutingTransformerConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.filter_size, bias=False)
        self.expand = nn.Linear(config.hidden_size, config.filter_size, bias=False)
        self.contract = nn.Linear(config.filter_size, config.hidden_size, bias=False)
        self.dropout = config.relu_dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) to (B, L, E)."""
        hidden = gelu(self.gate(x), approximate="tanh") * self.expand(x)
        out: Tensor = self.contract(dropout(hidden, self.dropout, self.training))
        return out


class Sequence(nn.Module):
    """What is done before or after a sublayer, letter by letter: d dropout, a add, n norm."""

    def __init__(self, config: RoutingTransformerConfig, letters: str) -> None:
        super().__init__()
        self.letters = "" if letters == "none" else letters  # "none" has an n too (SPEC §0.10)
        self.dropout = config.layer_prepostprocess_dropout
        if "n" in self.letters:
            self.norm = nn.LayerNorm(config.hidden_size, config.norm_epsilon)

    def forward(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """Apply the letters to y (B, L, E); x is what `a` adds."""
        for letter in self.letters:
            if letter == "d":
                y = dropout(y, self.dropout, self.training)
            elif letter == "a" and x is not None:
                y = x + y
            elif letter == "n":
                y = self.norm(y)
        return y


class Sublayer(nn.Module):
    """post(x, body(pre(x))) (SPEC §2)."""

    def __init__(self, config: RoutingTransformerConfig, body: nn.Module) -> None:
        super().__init__()
        self.before = Sequence(config, config.layer_preprocess_sequence)
        self.body = body
        self.after = Sequence(config, config.layer_postprocess_sequence)


class Layer(nn.Module):
    """Self-attention, in a decoder that has an encoder also attention to it, and feed-forward."""

    def __init__(
        self, config: RoutingTransformerConfig, layer: int, *, encoder: bool = False
    ) -> None:
        super().__init__()
        self.self_attention = Sublayer(config, Attention(config, layer, causal=not encoder))
        self.cross_attention: Sublayer | None = None
        if config.num_encoder_layers and not encoder:
            cross = Attention(config, layer, causal=False, cross=True)
            self.cross_attention = Sublayer(config, cross)
        kinds = {"conv_hidden_relu": FeedForward, "geglu": GatedFeedForward}
        kind = kinds.get(config.ffn_layer)
        self.feed_forward = Sublayer(config, kind(config) if kind else nn.Identity())

    def forward(self, x: Tensor, own: Memory, encoded: Memory) -> Attended:
        """x (B, L, E) to (B, L, E).

        Args:
            x: the layer's input.
            own: how to attend to x itself.
            encoded: the encoder's output, for a decoder that has one.
        """
        part = self.self_attention
        attended: Attended = part.body(part.before(x), own)
        x, loss = part.after(attended.states, x), attended.loss
        if self.cross_attention is not None:
            part = self.cross_attention
            attended = part.body(part.before(x), encoded)
            x, loss = part.after(attended.states, x), loss + attended.loss
        part = self.feed_forward
        return Attended(part.after(part.body(part.before(x)), x), loss)
