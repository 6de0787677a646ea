"""Text from a causal language model: streaming, cached, reproducible.

Glossary: B batch (always 1 here), T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from rag_rt.answers import FinishReason
from rag_rt.errors import GeneratorError, PromptTooLong
from rag_rt.models.starter import NAME, starter_generator
from rag_rt.prompting import Prompt
from rag_rt.settings import Settings
from retriever.loading import PICKLED_ONLY, weights_digest


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 always takes the likeliest (greedy)."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None


class Generation:
    """A text while it is being written: iterate once for its pieces, then read the counts.

    Each piece is the text that one token adds, possibly empty where a character spans tokens.
    Abandoning the iteration abandons the work.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        prompt_ids: list[int],
        budget: int,
        chooser: "_Chooser",
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._prompt_ids = prompt_ids
        self._budget = budget
        self._chooser = chooser
        self.prompt_tokens = len(prompt_ids)
        self.completion_tokens = 0
        self.finish_reason = FinishReason.STOP

    @torch.inference_mode()
    def __iter__(self) -> Iterator[str]:
        cache = DynamicCache(config=self._model.config)
        decoder = DecodeStream(skip_special_tokens=True)
        written: list[int] = []
        unread = self._prompt_ids  # tokens that the cache does not hold yet
        while self.completion_tokens < self._budget:
            step = self._model(
                input_ids=torch.tensor([unread]), past_key_values=cache, logits_to_keep=1
            )
            token = self._chooser.choose(written, step.logits[:, -1].float())
            if token is None:
                return
            self.completion_tokens += 1
            written.append(token)
            unread = [token]
            yield decoder.step(self._tokenizer, token) or ""
        self.finish_reason = FinishReason.LENGTH


class Generator:
    """A causal language model with a chat template, loaded through transformers."""

    def __init__(self, folder: str, name: str) -> None:
        """Load a generator.

        Args:
            folder: a folder or a Hugging Face Hub id; weights in safetensors.
            name: what to call it.

        Raises:
            GeneratorError: it cannot be loaded, or has no chat template.
        """
        self.name = name
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                folder, dtype="auto", use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise GeneratorError(
                f"cannot load the generator '{name}': {error}; name a folder with safetensors "
                "weights, a Hugging Face Hub id that can be reached, or 'starter' "
                f"(RAG_RT_GENERATOR); {PICKLED_ONLY}"
            ) from error
        self._model.train(False)
        if self._tokenizer.chat_template is None:
            raise GeneratorError(
                f"the generator '{name}' has no chat template, so it cannot be instructed; "
                "name an instruction-tuned model (RAG_RT_GENERATOR)"
            )
        self.parameters: int = self._model.num_parameters()
        self.context: int = self._model.config.max_position_embeddings
        ends = self._model.generation_config.eos_token_id
        self._ends: list[int] = [ends] if isinstance(ends, int) else list(ends or ())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The generator that the settings name.

        Raises:
            ArtefactError: it is the starter generator, which is not prepared or is damaged.
            GeneratorError: it cannot be loaded.
        """
        if settings.generator == "starter":
            return cls(str(starter_generator(settings.models_directory)), NAME)
        return cls(settings.generator, settings.generator)

    def weights_digest(self) -> str:
        """SHA-256 of the weights; a second for each gigabyte or so."""
        return weights_digest(self._model)

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a plain text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """Begin to answer a prompt.

        The same prompt, sampling and seed give the same text; without a seed, sampling differs from
        call to call.

        Raises:
            PromptTooLong: the prompt leaves no room for an answer in the context.
        """
        messages = [
            {**message, "content": self._inert(message["content"])} for message in prompt.messages
        ]
        ids: list[int] = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        room = self.context - len(ids)
        if room < 1:
            raise PromptTooLong(
                f"the prompt is {len(ids):,} tokens long and {self.name} reads {self.context:,}; "
                "ask for fewer passages or a shorter question"
            )
        favoured = self._tokenizer.encode(prompt.favoured_text, add_special_tokens=False)
        chooser = _Chooser(prompt, sampling, favoured, self._ends)
        budget = min(sampling.max_tokens, room)
        return Generation(self._model, self._tokenizer.backend_tokenizer, ids, budget, chooser)

    def _inert(self, content: str) -> str:
        """A text without the model's control tokens: questions and passages are data."""
        for token in self._tokenizer.all_special_tokens:
            content = content.replace(token, " ")
        return content


class _Chooser:
    """Chooses the next token from logits (1, V), by transformers' own processors."""

    def __init__(
        self, prompt: Prompt, sampling: Sampling, favoured: Sequence[int], ends: Sequence[int]
    ) -> None:
        # The end is favoured like the words, or texts would not end.
        self._favoured = torch.tensor(sorted({*favoured, *ends}), dtype=torch.long)
        self._favour = prompt.favour
        self._ends = list(ends)
        self._greedy = sampling.temperature == 0
        self._processors = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if prompt.no_repeat_ngram:
            self._processors.append(NoRepeatNGramLogitsProcessor(prompt.no_repeat_ngram))
        if not self._greedy:
            self._processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_p < 1:
                self._processors.append(TopPLogitsWarper(sampling.top_p))
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def choose(self, written: Sequence[int], logits: torch.Tensor) -> int | None:
        """The next token after `written`, the answer so far without its prompt; None ends it.

        An answer has at least one token.
        """
        logits[:, self._favoured] += self._favour
        if not written:
            logits[:, self._ends] = -torch.inf
        context = torch.tensor([list(written)], dtype=torch.long)
        logits = self._processors(
            cast("torch.LongTensor", context), cast("torch.FloatTensor", logits)
        )
        if self._greedy:
            token = int(logits.argmax(-1))
        else:
            token = int(torch.multinomial(logits.softmax(-1), 1, generator=self._random))
        return None if token in self._ends else token
