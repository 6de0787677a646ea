"""RAG: each passage is read by itself, and the answer weighed over all (Lewis et al. 2020).

With p(z) the softmax of the retriever's scores over the passages z of a question x (§2.1):

    RAG-sequence   p(y|x) = sum_z p(z) prod_i p(y_i | x, z, y_<i)
    RAG-token      p(y|x) = prod_i sum_z p(z) p(y_i | x, z, y_<i)

Glossary: Q questions, Z passages a question, C candidates, T tokens, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import RagSequenceForGeneration, RagTokenForGeneration

from eval.systems.loading import load_reader_model, settings_of_model
from eval.systems.system import Reading
from rag_rt.errors import GeneratorError
from retriever import Hit

MARGINALISATIONS = ("rag-sequence", "rag-token")


class RagReader:
    """A RAG checkpoint, as transformers keeps it. Computes in float32."""

    independent = False

    def __init__(self, folder: str, *, by_token: bool, max_tokens: int) -> None:
        """Load a reader; the checkpoint's own question encoder is not used, `--retriever` is.

        Args:
            folder: a folder or a Hugging Face Hub id.
            by_token: whether each token is weighed over the passages, or the whole answer.
            max_tokens: the longest answer.

        Raises:
            GeneratorError: the model cannot be loaded.
        """
        self._name = f"{MARGINALISATIONS[by_token]}:{folder}"
        self._max_tokens = max_tokens
        self._by_token = by_token
        model_class = RagTokenForGeneration if by_token else RagSequenceForGeneration
        self._model, self._tokenizer = load_reader_model(
            model_class, folder, self._name, tokenizer_folder="generator_tokenizer"
        )
        # By sequence the generator itself generates, by token the whole.
        generating = self._model if by_token else self._model.generator
        self._settings = {
            "generator": self._name,
            "max_tokens": max_tokens,
            **settings_of_model(generating),
        }

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Reader`."""
        return self._settings

    @torch.inference_mode()
    def read(self, questions: Sequence[str], passages: Sequence[tuple[Hit, ...]]) -> list[Reading]:
        """See `Reader`; greedy, or by beams where the model's generation settings say so.

        Raises:
            GeneratorError: there are no passages, or not as many for each question.
        """
        counts = {len(hits) for hits in passages}
        if len(counts) != 1 or counts == {0}:
            raise GeneratorError(
                f"'{self._name}' weighs its answers over passages, as many for each question, and "
                f"was given {sorted(counts)}; name a --retriever"
            )
        inputs = self._inputs(questions, passages)
        scores = torch.tensor([[hit.similarity for hit in hits] for hits in passages])  # (Q, Z)
        write = self._write_by_token if self._by_token else self._write_by_sequence
        written = write(inputs["input_ids"], inputs["attention_mask"], scores)
        answers = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            Reading(answer.strip(), hits) for answer, hits in zip(answers, passages, strict=True)
        ]

    def _inputs(
        self, questions: Sequence[str], passages: Sequence[Sequence[Hit]]
    ) -> Mapping[str, Tensor]:
        """Ids and mask (Q * Z, T) of each passage with its question, joined as in training."""
        config = self._model.config
        prefix = getattr(self._model.generator.config, "prefix", None) or ""
        texts = [
            f"{prefix}{hit.passage.title}{config.title_sep}{hit.passage.text}"
            f"{config.doc_sep}{question}".replace("  ", " ")
            for question, hits in zip(questions, passages, strict=True)
            for hit in hits
        ]
        inputs: Mapping[str, Tensor] = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=config.max_combined_length,
            return_tensors="pt",
        )
        return inputs

    def _write_by_token(self, ids: Tensor, mask: Tensor, scores: Tensor) -> list[Tensor]:
        settings = self._model.generation_config
        return list(
            self._model.generate(
                context_input_ids=ids,
                context_attention_mask=mask,
                doc_scores=scores,
                n_docs=scores.shape[1],
                num_beams=settings.num_beams or 1,
                do_sample=False,
                max_length=self._max_tokens + 1,  # it counts the token that starts
            )
        )

    def _write_by_sequence(self, ids: Tensor, mask: Tensor, scores: Tensor) -> list[Tensor]:
        """The candidate of greatest probability, each passage by itself giving candidates.

        "Thorough decoding" (§2.5). transformers' own leaves the passages' prior out of candidates
        of one token, and counts a padding token within a candidate as certain.
        """
        generator = self._model.generator
        beams = generator.generation_config.num_beams or 1
        written = generator.generate(
            input_ids=ids,
            attention_mask=mask,
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            max_new_tokens=self._max_tokens,
        ).unflatten(0, (len(scores), -1))  # (Q, Z * beams, T)
        best = []
        for question, candidates in enumerate(written):
            rows = slice(question * scores.shape[1], (question + 1) * scores.shape[1])
            different = candidates.unique(dim=0)
            values = self._log_probabilities(ids[rows], mask[rows], scores[question], different)
            best.append(different[int(values.argmax())])
        return best

    def _log_probabilities(
        self, ids: Tensor, mask: Tensor, scores: Tensor, candidates: Tensor
    ) -> Tensor:
        """log p(y|x): ids and mask (Z, S), scores (Z) and candidates (C, T) to (C)."""
        generator = self._model.generator
        per_passage = []
        for row in range(len(ids)):
            copies = (len(candidates), -1)
            logits = generator(
                input_ids=ids[row].expand(copies),
                attention_mask=mask[row].expand(copies),
                decoder_input_ids=candidates[:, :-1],
            ).logits  # (C, T - 1, V)
            tokens = logits.log_softmax(-1).gather(-1, candidates[:, 1:, None]).squeeze(-1)
            per_passage.append((tokens * self._counted(candidates[:, 1:])).sum(-1))
        prior = scores.log_softmax(-1)  # (Z)
        whole: Tensor = (prior.unsqueeze(-1) + torch.stack(per_passage)).logsumexp(0)
        return whole

    def _counted(self, tokens: Tensor) -> Tensor:
        """Where a candidate's tokens (C, T) are not yet behind the first that ends it."""
        ends = (tokens == self._model.config.generator.eos_token_id).long()
        counted: Tensor = ends.cumsum(-1) == ends  # before the first end, and at it
        return counted
