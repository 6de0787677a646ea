"""The Routing Transformer as a reader: the published ELI5 recipe, several questions at once.

`rag_rt.models.routing_transformer.eli5` states the recipe; the published system gives it the texts
of seven passages (Krishna et al. 2021), which is `k` here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.systems.loading import load_reader_model
from eval.systems.system import Reading
from rag_rt.errors import GeneratorError
from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.conversion import KIND, REMEDY, VERSION
from rag_rt.models.routing_transformer.eli5 import NUCLEUS, eli5_prompt
from rag_rt.models.routing_transformer.sampling import official_sampling
from retriever import Hit
from retriever.artefacts import verified_manifest
from retriever.loading import weights_digest


class RoutingTransformerReader:
    """A converted model, sampling as the published system does."""

    independent = False

    def __init__(
        self, folder: Path, *, max_tokens: int, seed: int, nucleus: float = NUCLEUS
    ) -> None:
        """Load a reader.

        Args:
            folder: what `rag-rt convert` wrote.
            max_tokens: the longest answer.
            seed: of each batch.
            nucleus: probability that the likeliest tokens, of which one is drawn, have together.

        Raises:
            ArtefactError: there is no such model, or it is damaged.
            GeneratorError: it cannot be loaded.
        """
        verified_manifest(folder, kind=KIND, version=VERSION, remedy=REMEDY)
        self._name = f"rt:{folder}"
        self._max_tokens, self._seed, self._nucleus = max_tokens, seed, nucleus
        self._model, self._tokenizer = load_reader_model(
            RoutingTransformerForCausalLM, str(folder), self._name
        )
        self._weights = weights_digest(self._model)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Reader`."""
        return {
            "generator": self._name,
            "weights": self._weights,
            "decoding": self._model.config.decoding,
            "max_tokens": self._max_tokens,
            "nucleus": self._nucleus,
            "seed": self._seed,
        }

    def read(self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]) -> list[Reading]:
        """See `Reader`.

        Raises:
            GeneratorError: the passages leave no room for an answer.
        """
        # Every piece of a prompt has the same length, so the rows of a batch need no padding.
        prompts = torch.tensor(
            [
                eli5_prompt(self._tokenizer, question, [hit.passage.text for hit in hits])
                for question, hits in zip(questions, passages, strict=True)
            ]
        )
        length = prompts.shape[1]
        room = min(self._max_tokens, self._model.config.max_target_length - length)
        if room < 1:
            raise GeneratorError(
                f"the prompt of '{self._name}' has {length:,} ids and the model reads "
                f"{self._model.config.max_target_length:,}; lower --k"
            )
        torch.manual_seed(self._seed)
        written = self._model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),  # PAD is an ordinary token
            max_new_tokens=room,
            do_sample=True,
            top_k=0,
            logits_processor=official_sampling(self._nucleus),
        )[:, length:]
        return [
            Reading(self._text(ids), hits)
            for ids, hits in zip(written.tolist(), passages, strict=True)
        ]

    def _text(self, ids: list[int]) -> str:
        end = self._tokenizer.eos_token_id
        ids = ids[: ids.index(end)] if end in ids else ids
        tokens = self._tokenizer.convert_ids_to_tokens(ids)
        return " ".join(self._tokenizer.convert_tokens_to_string(tokens).split())
