"""Text from a causal language model: streaming, cached, drafted, reproducible."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self

from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rag_rt.answers import FinishReason
from rag_rt.batching import Batch, Writing
from rag_rt.choosing import Chooser, Sampling
from rag_rt.errors import GeneratorError, PromptTooLong
from rag_rt.models.decoding import Decoder
from rag_rt.models.routed_decoder import Precision, RoutedDecoder
from rag_rt.models.starter import NAME, starter_generator
from rag_rt.models.transformers_decoder import TransformersDecoder
from rag_rt.prompting import Prompt
from rag_rt.settings import Settings
from retriever.loading import PICKLED_ONLY, weights_digest


class Generation:
    """A text while it is being written, which can be taken back and gone on with.

    Iterating gives its pieces; to do other things meanwhile, call `advance` until `ended`.
    Close it, or its place in the batch stays taken.
    """

    def __init__(
        self,
        batch: Batch,
        writing: Writing,
        tokenizer: Tokenizer,
        ids_of: Callable[[str], list[int]],
    ) -> None:
        self.text = ""
        """What is written so far."""
        self._ids_of = ids_of
        self._batch = batch
        self._writing = writing
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ends: list[int] = []  # of each token that was decoded, its last character's offset

    def __iter__(self) -> Iterator[str]:
        """The pieces of the text as they come; closes it at the end, or when abandoned."""
        try:
            while not self.ended:
                if piece := self.advance():
                    yield piece
        finally:
            self.close()

    @property
    def ended(self) -> bool:
        """Whether all of the text is read, and no more is to come."""
        read_all = len(self._ends) == len(self._writing.tokens)
        return read_all and self._writing.finish_reason is not None

    def advance(self) -> str:
        """Read on by what is written already, else by what a turn of the batch brings.

        Others of the batch may have advanced it meanwhile. A turn often brings nothing: a slice of
        the prompt was read, or a token is a part of a character.
        """
        if not self.ended and len(self._ends) == len(self._writing.tokens):
            self._batch.advance()
        return self._decode()

    def rewind(self, length: int, sampling: Sampling | None = None) -> None:
        """Forget the text from its character `length` on, and go on from there.

        A token that holds characters of both sides is kept whole.

        Args:
            length: characters that stay.
            sampling: see `Writing.rewind`.
        """
        kept = next((n for n, end in enumerate([0, *self._ends]) if end >= length), 0)
        self._writing.rewind(kept, sampling)
        self._stream = DecodeStream(skip_special_tokens=True)
        self.text, self._ends = "", []
        self._decode()

    def insert(self, text: str) -> None:
        """Append given words, as many as there is room for, and go on after them."""
        self._writing.extend(self._ids_of(text))
        self._decode()

    def close(self) -> None:
        """Free the place in the batch, and stop the work."""
        self._batch.leave(self._writing)

    def _decode(self) -> str:
        before = len(self.text)
        for token in self._writing.tokens[len(self._ends) :]:
            self.text += self._stream.step(self._tokenizer, token) or ""
            self._ends.append(len(self.text))
        return self.text[before:]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return self._writing.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """Tokens of the text, without the one that ends it."""
        return len(self._writing.tokens)

    @property
    def finish_reason(self) -> FinishReason:
        """Why the text ended; to be read when it has."""
        return self._writing.finish_reason or FinishReason.STOP

    @property
    def steps(self) -> int:
        """Passes of the model in which tokens were chosen."""
        return self._writing.steps

    @property
    def drafted(self) -> int:
        """Tokens that were guessed."""
        return self._writing.drafted

    @property
    def accepted(self) -> int:
        """Tokens of these that the model wrote too."""
        return self._writing.accepted


class Generator:
    """A causal language model with a chat template, loaded through transformers."""

    def __init__(self, folder: str, name: str, precision: Precision | None = None) -> None:
        """Load a generator.

        Args:
            folder: a folder or a Hugging Face Hub id; weights in safetensors.
            name: what to call it.
            precision: of the weights in our own forward pass; None chooses.

        Raises:
            GeneratorError: it cannot be loaded, or has no chat template.
        """
        self.name = name
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            model = _model_of(folder)
        except (OSError, ValueError, SafetensorError) as error:
            raise GeneratorError(
                f"cannot load the generator '{name}': {error}; name a folder with safetensors "
                "weights, a Hugging Face Hub id that can be reached, or 'starter' "
                f"(RAG_RT_GENERATOR); {PICKLED_ONLY}"
            ) from error
        if self._tokenizer.chat_template is None:
            raise GeneratorError(
                f"the generator '{name}' has no chat template, so it cannot be instructed; "
                "name an instruction-tuned model (RAG_RT_GENERATOR)"
            )
        self._decoder = _decoder_of(model.train(False), precision)
        self._folder = folder
        self.precision = self._decoder.precision
        self.parameters: int = model.num_parameters()
        self.context = self._decoder.context
        ends = model.generation_config.eos_token_id
        self._ends: list[int] = [ends] if isinstance(ends, int) else list(ends or ())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The generator that the settings name.

        Raises:
            ArtefactError: it is the starter generator, which is not prepared or is damaged.
            GeneratorError: it cannot be loaded.
        """
        if settings.generator == "starter":
            folder, name = str(starter_generator(settings.models_directory)), NAME
        else:
            folder = name = settings.generator
        return cls(folder, name, None if settings.precision == "auto" else settings.precision)

    def weights_digest(self) -> str:
        """SHA-256 of the weights, which are loaded for it; a second for each gigabyte or so."""
        return weights_digest(_model_of(self._folder))

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a plain text."""
        return len(self._ids_of(text))

    def new_batch(self) -> Batch:
        """An empty batch, whose answers this generator writes together."""
        return Batch(self._decoder)

    def generate(
        self, prompt: Prompt, sampling: Sampling, batch: Batch | None = None
    ) -> Generation:
        """Begin to answer a prompt.

        The same prompt, sampling and seed give the same text, whatever else is in the batch;
        without a seed, sampling differs from call to call.

        Args:
            prompt: what to read.
            sampling: how to choose tokens.
            batch: one of this generator's, to share with other answers: whichever of their texts is
                iterated advances all of them. By default one of its own.

        Raises:
            PromptTooLong: the prompt leaves no room for an answer in the context.
        """
        batch = self.new_batch() if batch is None else batch
        writing = self.join(batch, prompt, sampling)
        return Generation(batch, writing, self._tokenizer.backend_tokenizer, self._ids_of)

    def join(
        self, batch: Batch, prompt: Prompt, sampling: Sampling, *, draft: bool = True
    ) -> Writing:
        """Begin to answer a prompt in tokens, for callers that advance the batch themselves.

        Raises:
            PromptTooLong: the prompt leaves no room for an answer in the context.
        """
        ids = self.prompt_ids(prompt)
        room = self.context - len(ids)
        if room < 1:
            raise PromptTooLong(
                f"the prompt is {len(ids):,} tokens long and {self.name} reads {self.context:,}; "
                "ask for fewer passages or a shorter question"
            )
        chooser = Chooser(self.sampling_for(prompt, sampling), self._ends)
        return batch.join(ids, chooser, min(sampling.max_tokens, room), draft=draft)

    def sampling_for(self, prompt: Prompt, sampling: Sampling) -> Sampling:
        """A sampling, held to the prompt's sources as the prompt asks."""
        bias: dict[int, float] = {}
        if prompt.favour:
            favoured = self._ids_of(prompt.favoured_text)
            # The end is favoured like the words, or texts would not end.
            bias = dict.fromkeys([*favoured, *self._ends], prompt.favour)
        for token, value in sampling.bias.items():
            bias[token] = bias.get(token, 0.0) + value
        no_repeat_ngram = sampling.no_repeat_ngram or prompt.no_repeat_ngram
        return replace(sampling, bias=bias, no_repeat_ngram=no_repeat_ngram)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt, in the model's chat template."""
        messages = [
            {**message, "content": self._inert(message["content"])} for message in prompt.messages
        ]
        ids: list[int] = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        return ids

    def _inert(self, content: str) -> str:
        """A text without the model's control tokens: questions and passages are data."""
        for token in self._tokenizer.added_tokens_decoder.values():
            if token.special:
                content = content.replace(token.content, " ")
        return content

    def _ids_of(self, text: str) -> list[int]:
        """The tokens of a plain text, in which control tokens are words like any."""
        ids: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids


def _model_of(folder: str) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True
    )
    return model


def _decoder_of(model: PreTrainedModel, precision: Precision | None) -> Decoder[Any]:
    """Our own forward pass where it runs such models, else transformers'."""
    return RoutedDecoder.of(model, precision) or TransformersDecoder(model)
