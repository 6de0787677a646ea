"""The tokenizer of the Routing Transformer: tensor2tensor's subword file behind transformers."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizer

from rag_rt.models.routing_transformer.errors import InputError
from rag_rt.models.routing_transformer.subwords import SubwordEncoder, read_subwords

VOCABULARY_FILE = "vocab.subwords"


class RoutingTransformerTokenizer(PreTrainedTokenizer):
    """Text to ids of a tensor2tensor subword vocabulary, and back.

    No text becomes a control token: "<pad>" and "<EOS>" are read as any other text (SPEC §8).
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}  # noqa: RUF012  # as transformers declares it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    padding_side = "left"

    def __init__(
        self,
        vocab_file: str,
        pad_token: str = "<pad>_",  # noqa: S107
        eos_token: str = "<EOS>_",  # noqa: S107
        **kwargs: Any,
    ) -> None:
        """Read a vocabulary.

        Args:
            vocab_file: one subtoken a line, quoted, in the order of their ids.
            pad_token: the subtoken that pads.
            eos_token: the subtoken that ends a text.
            kwargs: as every tokenizer of transformers takes them.

        Raises:
            InputError: the file is no text in UTF-8.
        """
        self._vocabulary = Path(vocab_file).read_bytes()
        try:
            self._encoder = SubwordEncoder(read_subwords(self._vocabulary.decode()))
        except UnicodeDecodeError as error:
            raise InputError(
                "vocab_file",
                f"{vocab_file} must be UTF-8 and is not ({error}); name the subword file that lies "
                "beside the checkpoint",
            ) from error
        kwargs["split_special_tokens"] = True
        super().__init__(pad_token=pad_token, eos_token=eos_token, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def vocab_size(self) -> int:
        """The number of subtokens."""
        return len(self._encoder.subtokens)

    def get_vocab(self) -> dict[str, int]:
        """The id of each subtoken."""
        return {**self._encoder.ids, **self.added_tokens_encoder}

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> Any:
        """The id of a token, or of each of a list; transformers' own two calls a token are slow."""
        added = super().convert_tokens_to_ids
        if isinstance(tokens, str):
            return added(tokens)
        # An added token that is a subtoken too has the subtoken's id.
        ids = self._encoder.ids
        return [ids[token] if token in ids else added(token) for token in tokens]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of subtokens."""
        return self._encoder.decode(tokens)

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary file, byte by byte what was read."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory) / f"{prefix}{VOCABULARY_FILE}"
        path.write_bytes(self._vocabulary)
        return (str(path),)

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        subtokens = self._encoder.subtokens
        return [subtokens[i] for i in self._encoder.encode(text)]

    def _convert_token_to_id(self, token: str) -> int | None:
        return self._encoder.ids.get(token)

    def _convert_id_to_token(self, index: int) -> str:
        subtokens = self._encoder.subtokens
        return subtokens[index] if 0 <= index < len(subtokens) else ""
