"""Tensor2tensor's subwords: escaping, splitting and the greedy longest match (SPEC §8)."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from rag_rt.models.routing_transformer.errors import InputError

UNDECODABLE = "〓"  # U+3013, which tensor2tensor writes for an escape that means nothing
_ESCAPE_CHARACTERS = "\\_u;0123456789"
# Maximal runs of letters and numbers (categories L and N, which `\w` without "_" is), and of
# everything else.
_RUNS = re.compile(r"[^\W_]+|[\W_]+")
_ESCAPED = re.compile(r"\\u|\\\\|\\([0-9]+);")
# Each distinct run is matched once. The bound only guards against texts without any repetition.
_CACHED_RUNS = 1 << 20


def read_subwords(text: str) -> list[str]:
    """The subtokens of a vocabulary file, in the order of their ids.

    Lines end with a line feed only: the file holds other separators as subtokens (SPEC §0).
    """
    lines = text.removesuffix("\n").split("\n")
    return [_unquoted(line.rstrip()) for line in lines]


def _unquoted(line: str) -> str:
    quoted = len(line) > 1 and line[0] == line[-1] and line[0] in "'\""
    return line[1:-1] if quoted else line


class SubwordEncoder:
    """Text to ids and back, as tensor2tensor's SubwordTextEncoder."""

    def __init__(self, subtokens: Sequence[str]) -> None:
        self.subtokens = list(subtokens)
        self.ids = {subtoken: i for i, subtoken in enumerate(self.subtokens)}
        self._alphabet = set("".join(self.subtokens)) | set(_ESCAPE_CHARACTERS)
        # A match is never longer than the longest subtoken with the same first character.
        self._longest: dict[str, int] = {}
        for subtoken in filter(None, self.subtokens):
            self._longest[subtoken[0]] = max(self._longest.get(subtoken[0], 0), len(subtoken))
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
            InputError: the vocabulary lacks a character that escapes need.
        """
        runs: list[str] = _RUNS.findall(text)
        # A single space between two runs is implied; at either end of the text it is not.
        ends = {0, len(runs) - 1}
        implied: list[int] = []
        ids: list[int] = []
        cache = self._cache
        for i, run in enumerate(runs):
            found = implied if run == " " and i not in ends else cache.get(run)
            ids += self._encode_run(run) if found is None else found
        return ids

    def decode(self, subtokens: Iterable[str]) -> str:
        """The text of subtokens."""
        runs = [_unescaped(run + "_") for run in "".join(subtokens).split("_") if run]
        alphanumeric = [run[:1].isalnum() for run in runs]
        pieces = runs[:1]
        for (left, right), run in zip(pairwise(alphanumeric), runs[1:], strict=True):
            pieces.append(f" {run}" if left and right else run)
        return "".join(pieces)

    def _encode_run(self, run: str) -> list[int]:
        escaped = self._escaped(run)
        ids: list[int] = []
        start = 0
        while start < len(escaped):
            longest = self._longest.get(escaped[start], 0)
            for end in range(min(start + longest, len(escaped)), start, -1):
                found = self.ids.get(escaped[start:end])
                if found is not None:
                    ids.append(found)
                    start = end
                    break
            else:
                raise InputError(
                    "text",
                    f"the vocabulary has no subtoken for {escaped[start]!r}, which text is "
                    "escaped with; use the vocabulary file that the model was trained with",
                )
        if len(self._cache) >= _CACHED_RUNS:
            self._cache.clear()
        self._cache[run] = ids
        return ids

    def _escaped(self, run: str) -> str:
        escaped = run.replace("\\", "\\\\").replace("_", "\\u")
        alphabet = self._alphabet
        return "".join(c if c in alphabet else f"\\{ord(c)};" for c in escaped) + "_"


def _unescaped(run: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[1] is None:
            return "_" if match[0] == "\\u" else "\\"
        try:
            return chr(int(match[1]))
        except (ValueError, OverflowError):
            return UNDECODABLE

    return _ESCAPED.sub(character, run[:-1] if run.endswith("_") else run)
