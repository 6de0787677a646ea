"""A second look at what was found: a cross-encoder reads question and passage together.

It sees what vectors made apart cannot hold, and takes as long for a few dozen passages as a search
of millions; so it is used only where a person names a model (Nogueira & Cho 2019, *Passage
Re-ranking with BERT*).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from retriever.errors import EncoderError, QueryError
from retriever.passages import MAX_PASSAGES, Hit

MAX_TOKENS = 512  # of question and passage together: what such models were trained with at most
BATCH = 16  # pairs computed at once


class Reranker:
    """Orders passages by a model of sequence classification with one or two labels."""

    def __init__(self, name: str) -> None:
        """Load a cross-encoder.

        Args:
            name: a folder or a Hugging Face Hub id, with weights in safetensors.

        Raises:
            EncoderError: there is no such model, or it does not say how well a passage answers.
        """
        self.name = name
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            loaded: tuple[Any, dict[str, Any]]
            loaded = AutoModelForSequenceClassification.from_pretrained(
                name, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise EncoderError(
                f"cannot load the reranker '{name}': {error}; RAG_RT_RERANKER is a folder with "
                "model.safetensors, or a Hub id that can be reached"
            ) from error
        self._model, information = loaded
        if information["missing_keys"] or self._model.config.num_labels > 2:
            raise EncoderError(
                f"'{name}' is no reranker: expected a model trained for sequence classification "
                f"with one or two labels, and found {self._model.config.num_labels} labels and "
                f"no weights for {sorted(information['missing_keys'])}; name a cross-encoder"
            )
        self._model.train(False)

    def rerank(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in the model's order, with its scores; equal ones keep theirs.

        Args:
            question: what was searched for.
            hits: at most `MAX_PASSAGES`.

        Raises:
            QueryError: there are more hits.
        """
        if len(hits) > MAX_PASSAGES:
            raise QueryError(f"{len(hits)} passages are to be reranked; at most {MAX_PASSAGES} are")
        texts = [f"{hit.passage.title}\n{hit.passage.text}" for hit in hits]
        scores = [
            score
            for first in range(0, len(texts), BATCH)
            for score in self._scores(question, texts[first : first + BATCH])
        ]
        order = sorted(range(len(hits)), key=lambda place: -scores[place])
        return [
            replace(hits[place], score=scores[place], rank=rank)
            for rank, place in enumerate(order, start=1)
        ]

    @torch.inference_mode()
    def _scores(self, question: str, texts: list[str]) -> list[float]:
        inputs = self._tokenizer(
            [question] * len(texts),
            texts,
            padding=True,
            truncation=True,
            max_length=min(MAX_TOKENS, self._tokenizer.model_max_length),
            return_tensors="pt",
        )
        logits = self._model(**inputs).logits  # (B, 1), or (B, 2) with the second for yes
        scores: list[float] = (
            logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0)
        ).tolist()
        return scores
