"""The Routing Transformer of Roy et al. (2021) as a transformers model.

Glossary as in `rag_rt.attention`; E hidden size, V vocabulary, T tokens of a call.

Two views of the same network: the official program reads `targets` and predicts position i from
the targets before i (`teacher_forced_logits`); transformers reads `input_ids` and predicts from
token i the token after it (`forward`). Between them lies one shift to the right (SPEC §1).
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import LongTensor, Tensor, nn
from torch.nn.functional import cross_entropy, embedding, pad
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.generation.configuration_utils import GenerationMode
from transformers.modeling_outputs import CausalLMOutputWithPast

from rag_rt.attention.centroids import on_sphere
from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig
from rag_rt.models.routing_transformer.errors import InputError
from rag_rt.models.routing_transformer.exact import ExactCache
from rag_rt.models.routing_transformer.heads import Memory, RelativePositions, RoutingHeads
from rag_rt.models.routing_transformer.incremental import IncrementalCache
from rag_rt.models.routing_transformer.layers import Layer, Sequence

TIMESCALE = 1e4  # of the sinusoids of tensor2tensor's timing signal (SPEC §1)
IGNORED = -100  # transformers' label of a token that does not count


@dataclass(frozen=True, slots=True)
class TeacherForced:
    """What the official program computes of targets (B, L).

    Attributes:
        states: (B, L, E), the decoder's output.
        extra_loss: the k-means losses of all layers.
    """

    states: Tensor
    extra_loss: Tensor


class RoutingTransformerForCausalLM(PreTrainedModel, GenerationMixin):
    """The Routing Transformer with its output layer; with an encoder where the config says so."""

    config: RoutingTransformerConfig
    config_class = RoutingTransformerConfig
    base_model_prefix = "decoder"
    main_input_name = "input_ids"
    _no_split_modules = ["Layer"]  # noqa: RUF012  # as transformers declares it
    _keep_in_fp32_modules_strict = {"means", "ema_count", "ema_means"}  # noqa: RUF012

    def __init__(self, config: RoutingTransformerConfig) -> None:
        super().__init__(config)
        size, dims, words = config.hidden_size, config.embedding_dims, config.vocab_size
        self.embedding = nn.Embedding(words, dims)
        self.embedding_projection = nn.Linear(dims, size)
        self.encoder = nn.ModuleList(
            Layer(config, layer, encoder=True) for layer in range(config.num_encoder_layers)
        )
        if config.num_encoder_layers:
            self.source_embedding = nn.Embedding(words, size)
        self.decoder = nn.ModuleList(
            Layer(config, layer) for layer in range(config.num_decoder_layers)
        )
        self.final = Sequence(config, config.layer_preprocess_sequence)
        self.reduction = nn.Linear(size, dims) if dims != size else nn.Identity()
        self.output = nn.Linear(dims, words)
        self.post_init()  # type: ignore[no-untyped-call]

    def teacher_forced_logits(self, targets: Tensor, inputs: Tensor | None = None) -> Tensor:
        """The official forward pass: logits of targets[:, i] given the targets before i.

        Routing looks at the whole sequence, so that logits depend also on what follows (SPEC §0.6).

        Args:
            targets: ids (B, L); L is a multiple of `query_shape`.
            inputs: ids (B, S) of the source, for models with an encoder.

        Returns:
            (B, L, V), float32.

        Raises:
            InputError: ids or lengths that the model cannot read; it names the rule.
        """
        return self.logits(self.teacher_forced(targets, inputs).states)

    def teacher_forced(self, targets: Tensor, inputs: Tensor | None = None) -> TeacherForced:
        """As `teacher_forced_logits`, up to the output layer.

        Raises:
            InputError: ids or lengths that the model cannot read; it names the rule.
        """
        self._check(targets, inputs)
        shifted = pad(targets, (1, -1))  # position 0 reads id 0
        encoded, loss = self._encoded(inputs)
        x = self.embedded(shifted, torch.arange(targets.shape[1], device=targets.device))
        own = Memory(first=None if self.config.add_timing_signal else _first_equal(shifted))
        for layer in self.decoder:
            x, layer_loss = layer(x, own, encoded)
            loss = loss + layer_loss
            own = Memory()  # equal ids differ from here on, by their neighbours
        return TeacherForced(self.final(x), loss)

    def teacher_forced_loss(self, targets: Tensor, inputs: Tensor | None = None) -> Tensor:
        """What official training minimises: cross entropy, without PAD, and k-means (SPEC §5).

        Raises:
            InputError: ids or lengths that the model cannot read; it names the rule.
        """
        decoded = self.teacher_forced(targets, inputs)
        logits = self.logits(decoded.states)
        return cross_entropy(logits.mT, targets.long(), ignore_index=0) + decoded.extra_loss

    def embedded(self, ids: Tensor, position: Tensor) -> Tensor:
        """The decoder's input: ids (B, L) at positions (L) or (B, L) to (B, L, E)."""
        x: Tensor = self.embedding_projection(self.embedding(ids))
        if self.config.add_timing_signal:
            x = x + _timing_signal(position, self.config.hidden_size).to(x.dtype)
        return x

    def logits(self, states: Tensor) -> Tensor:
        """The output layer: states (…, E) to (…, V), float32."""
        logits: Tensor = self.output(self.reduction(states))
        return logits.float()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        inputs: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: IncrementalCache | ExactCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """Logits at token i are those of the token after it.

        Training, and `exact` decoding, run the official function; `incremental` decoding its causal
        counterpart (`docs/routing-transformer.md`).

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 where a row has no token; rows may be padded on either side.
            inputs: ids (B, S) of the source, for models with an encoder.
            labels: (B, T), usually the input ids; -100 where they do not count.
            past_key_values: what was remembered; `incremental` decoding then reads the tokens
                that follow, `exact` decoding the whole text.
            use_cache: give what is remembered with the logits; `exact` only goes on with a cache.
            logits_to_keep: only the logits of the last so many tokens; 0: all.

        Raises:
            InputError: ids or lengths that the model cannot read; it names the rule.
        """
        cache = past_key_values
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        present = mask[:, -input_ids.shape[1] :].bool()
        kept = slice(-logits_to_keep, None)
        extra_loss: Tensor | float = 0.0
        if not self.training and self.config.decoding == "incremental":
            cache = cache or IncrementalCache.empty(self.config)
            states, where = self._incremental(input_ids, present, cast("IncrementalCache", cache))
            states = states.take_along_dim(where[:, kept, None], 1)
        else:
            targets, where = self._zero_filled(input_ids, present)
            if isinstance(cache, ExactCache):
                states = self._exact(targets, where[:, kept], cache)
                cache.tokens = input_ids.shape[1]
            else:
                decoded = self.teacher_forced(targets, inputs)
                states = decoded.states.take_along_dim(where[:, kept, None], 1)
                extra_loss = decoded.extra_loss
        logits = self.logits(states)
        loss = None
        if labels is not None:
            loss = cross_entropy(logits[:, :-1].mT, labels[:, 1:], ignore_index=IGNORED)
            if self.training:
                loss = loss + extra_loss
        wants_cache = self.config.use_cache if use_cache is None else use_cache
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=cache if wants_cache else None,  # type: ignore[arg-type]
        )

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def _prepare_attention_mask_for_generation(self, inputs_tensor: Tensor, *_: Any) -> LongTensor:
        """Read every id of a prompt without a mask: PAD is an ordinary token (SPEC §0.10)."""
        return cast("LongTensor", torch.ones_like(inputs_tensor, dtype=torch.long))

    def _prepare_cache_for_generation(
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        batch_size: int,
        max_cache_length: int,
    ) -> bool:
        """Give `generate` an empty cache, so that it may read a prompt in chunks."""
        given = model_kwargs.get("past_key_values") is not None
        if given or not generation_config.use_cache:
            return False
        exact = self.config.decoding == "exact"
        if exact and self.config.not_causal is not None:
            return False
        kind = ExactCache if exact else IncrementalCache.empty
        model_kwargs["past_key_values"] = kind(self.config)
        return True

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, next_sequence_length: int | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """What `generate` hands to `forward`: `exact` decoding reads the whole text each time."""
        if self.config.decoding == "exact":
            next_sequence_length = None
        prepared: dict[str, Any] = super().prepare_inputs_for_generation(  # type: ignore[misc]
            cast("LongTensor", input_ids), next_sequence_length, **kwargs
        )
        return prepared

    def _incremental(
        self, ids: Tensor, present: Tensor, cache: IncrementalCache
    ) -> tuple[Tensor, Tensor]:
        """The states of new tokens (B, T) that a cache lacks, and where each token's states are."""
        batch, tokens = ids.shape
        self._check_ids("input_ids", ids)
        where = (present.cumsum(1) - 1).clamp(min=0)
        rows = ids.new_zeros(
            batch, tokens + 1
        ).scatter(  # tokens first, what pads them last
            1, where.masked_fill(~present, tokens), ids
        )[:, :-1]
        added = present.sum(1)
        if cache.length is None:  # position 0 reads id 0
            cache.length = torch.zeros_like(added)
            rows, added, where = pad(rows, (1, 0)), added + 1, where + 1
        columns = torch.arange(rows.shape[1], device=ids.device)
        x = self.embedded(rows, cache.length.unsqueeze(-1) + columns)
        x = cache.decode(self.decoder, x, added)
        cache.tokens += tokens
        return self.final(x), where

    def _exact(self, targets: Tensor, asked: Tensor, cache: ExactCache) -> Tensor:
        """The official function of targets (B, L) at positions (B, T): states (B, T, E)."""
        self._check(targets, None)
        shifted = pad(targets, (1, -1))
        start = cache.start(shifted, asked)
        columns = torch.arange(start, targets.shape[1], device=targets.device)
        x = self.embedded(shifted[:, start:], columns)
        first = None if self.config.add_timing_signal else _first_equal(shifted)
        states: Tensor = self.final(cache.decode(self.decoder, x, start, first, asked))
        return states

    def _zero_filled(self, ids: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The zero-filled sequence of targets, and where each token's states are.

        The sequence is as long as the official decoder's, `max_target_length`; in training it is
        as short as blocks and windows allow.
        """
        batch, tokens = ids.shape
        length = self.config.max_target_length
        if self.training and not self.config.add_timing_signal:
            least = max(tokens + 1, self.config.sparsity_cluster_attention_window)
            length = -(-least // self.config.query_shape) * self.config.query_shape
        if tokens >= length:
            raise InputError(
                "input_ids",
                f"must be shorter than max_target_length ({length:,}), found {tokens:,} tokens",
            )
        position = present.cumsum(1) - 1  # of each token in its row
        targets = ids.new_zeros(batch, length).scatter(
            1, position.masked_fill(~present, length - 1), ids.masked_fill(~present, 0)
        )
        return targets, position + 1

    def _encoded(self, inputs: Tensor | None) -> tuple[Memory, Tensor]:
        """The encoder's output (B, S, E), and its k-means loss."""
        loss = self.output.weight.new_zeros((), dtype=torch.float32)
        if inputs is None:
            return Memory(), loss
        size = self.config.hidden_size
        present = (inputs != 0).unsqueeze(-1)
        x = embedding(inputs, self.source_embedding.weight) * present
        if self.config.multiply_embedding_mode == "sqrt_depth":
            x = x * size**0.5
        padding = (x == 0).all(-1)
        own = Memory(padding=padding, first=_first_equal(inputs))
        for layer in self.encoder:
            x, layer_loss = layer(x, own, Memory())
            loss = loss + layer_loss
            own = Memory(padding=padding)
        return Memory(states=x, padding=padding), loss

    def _check(self, targets: Tensor, inputs: Tensor | None) -> None:
        config = self.config
        window = config.sparsity_cluster_attention_window
        windows = any(config.routes(layer) for layer in range(config.num_decoder_layers))
        for field, ids, block in (
            ("targets", targets, config.query_shape),
            ("inputs", inputs, config.query_shape),
        ):
            if ids is None:
                continue
            length = ids.shape[1]
            _require(
                length > 0 and length % block == 0,
                field,
                f"the length must be a multiple of query_shape ({block})",
                length,
            )
            _require(
                not windows or length >= window,
                field,
                "the length must be at least sparsity_cluster_attention_window "
                f"({window}), from which each cluster takes its positions",
                length,
            )
            self._check_ids(field, ids)
        has_encoder = config.num_encoder_layers > 0
        _require(
            (inputs is not None) == has_encoder,
            "inputs",
            "must be given" if has_encoder else "must not be given: the model has no encoder",
            None if inputs is None else tuple(inputs.shape),
        )
        if inputs is not None:
            blocks = targets.shape[1] // config.query_shape
            _require(
                inputs.shape[1] == blocks * config.memory_query_shape,
                "inputs",
                f"must have as many blocks of memory_query_shape ({config.memory_query_shape}) as "
                f"the targets have of query_shape ({blocks})",
                inputs.shape[1],
            )
        if config.add_timing_signal:
            _require(
                targets.shape[1] == config.max_target_length,
                "targets",
                "with add_timing_signal the length must be max_target_length "
                f"({config.max_target_length})",
                targets.shape[1],
            )

    def _check_ids(self, field: str, ids: Tensor) -> None:
        low, high = int(ids.min()), int(ids.max())
        _require(
            low >= 0 and high < self.config.vocab_size,
            field,
            f"ids must be from 0 to {self.config.vocab_size - 1}",
            low if low < 0 else high,
        )

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, RoutingHeads):
            start = on_sphere(torch.randn(module.means.shape))  # SPEC §5
            init.copy_(module.means, start)
            if module.ema:
                init.copy_(module.ema_means, start)
                init.zeros_(module.ema_count)
        elif isinstance(module, RelativePositions):
            init.normal_(module.keys, std=self.config.initializer_range)
            init.normal_(module.values, std=self.config.initializer_range)
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]


def _first_equal(ids: Tensor) -> Tensor:
    """Where each id stands first in its row, (B, L) to (B, L).

    In a first layer that routes, positions with the same id are equal and tie. Torch computes equal
    rows with different rounding, depending on where they stand, so ties are made exact.
    """
    batch, length = ids.shape
    ids = ids.long()
    positions = torch.arange(length, device=ids.device).expand(batch, -1)
    words = int(ids.max()) + 1
    first = positions.new_full((batch, words), length)
    return first.scatter_reduce(1, ids, positions, "amin").gather(1, ids)


def _timing_signal(position: Tensor, size: int) -> Tensor:
    """Tensor2tensor's sinusoids, positions (…) to (…, E) (SPEC §1)."""
    half = size // 2
    exponents = torch.arange(half, dtype=torch.float32, device=position.device) / max(half - 1, 1)
    angles = position.unsqueeze(-1) * TIMESCALE**-exponents  # (…, E/2)
    return pad(torch.cat([angles.sin(), angles.cos()], -1), (0, size % 2))


def _require(holds: bool, field: str, rule: str, found: object) -> None:
    if not holds:
        raise InputError(field, f"{rule}, found {found!r}")
