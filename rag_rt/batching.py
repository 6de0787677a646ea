"""Several answers written together: sequences join and leave between any two tokens.

What a sequence says does not depend on who else is in the batch: its prompt is read in slices of a
fixed size, its tokens are chosen by a chooser of its own, and drafts change nothing.

Glossary: V vocabulary, n tokens of one sequence in one step.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rag_rt.answers import FinishReason
from rag_rt.choosing import Chooser, Sampling
from rag_rt.drafting import Drafter
from rag_rt.models.decoding import Decoder, Row

SLICE = 512  # tokens of a prompt in one turn: a sixth of a second of the starter model
STEP = 32  # tokens of all sequences in one step, from which on drafts cost more than they bring


class Writing:
    """An answer that is being written: read its tokens and counts between turns of its batch."""

    def __init__(
        self, prompt_ids: Sequence[int], chooser: Chooser, max_tokens: int, drafter: Drafter | None
    ) -> None:
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while there is more to read or write."""
        self.steps = 0
        """Passes of the model that chose a token, or several."""
        self.drafted = 0
        """Tokens that were guessed."""
        self.accepted = 0
        """Tokens of these that the model wrote too."""
        self.held = 0
        """Tokens of prompt and answer whose keys and values its row holds, and still may use."""
        self._prompt = list(prompt_ids)
        self._chooser = chooser
        self._max_tokens = max_tokens
        self._drafter = drafter

    @property
    def tokens(self) -> Sequence[int]:
        """The answer so far, without the token that ended it."""
        return self._chooser.tokens

    @property
    def prompt_tokens(self) -> int:
        """The number of tokens of the prompt."""
        return len(self._prompt)

    def extend(self, ids: Sequence[int]) -> None:
        """Append given tokens to the answer, as many as it may have, and go on after them."""
        self._append(ids[: self._room])
        self.finish_reason = None if self._room else FinishReason.LENGTH

    def rewind(self, length: int, sampling: Sampling | None = None) -> None:
        """Forget the answer from its token `length` on, and go on from there.

        A finished answer goes on too. How tokens are chosen from there: see `Chooser.rewind`.
        """
        if not 0 <= length <= len(self.tokens):
            raise ValueError(f"the answer has {len(self.tokens)} tokens, not {length}")
        self._chooser.rewind(length, sampling)
        if self._drafter:
            self._drafter.truncate(len(self._prompt) + length)
        self.held = min(self.held, len(self._prompt) + length - 1)
        self.finish_reason = None if self._room else FinishReason.LENGTH

    @property
    def unread(self) -> Sequence[int]:
        """The tokens that its row does not hold: at least the last, after which the next comes."""
        if self.held < len(self._prompt):
            return [*self._prompt[self.held :], *self.tokens]
        return self.tokens[self.held - len(self._prompt) :]

    def draft(self, most: int) -> list[int]:
        """A guess at the next tokens; one more than it must be within the length of the answer."""
        return self._drafter.draft(min(most, self._room - 1)) if self._drafter else []

    def accept(self, draft: Sequence[int], logits: Tensor) -> None:
        """Choose the next token, and those after it as far as the draft foretold them.

        Args:
            draft: n - 1 tokens.
            logits: (n, V) after the last token and after each token of the draft.
        """
        accepted = 0
        for place, scores in enumerate(logits.numpy()):
            token = self._chooser.choose(scores)
            if token is None:
                self.finish_reason = FinishReason.STOP
                break
            self._append([token])
            if not self._room:
                self.finish_reason = FinishReason.LENGTH
            if place == len(draft) or token != draft[place]:
                break
            accepted += 1
        self.held = len(self._prompt) + len(self.tokens) - 1
        self.steps += 1
        self.drafted += len(draft)
        self.accepted += accepted
        if self._drafter:
            self._drafter.learn(len(draft), accepted)

    @property
    def _room(self) -> int:
        return self._max_tokens - len(self.tokens)

    def _append(self, tokens: Sequence[int]) -> None:
        self._chooser.extend(tokens)
        if self._drafter:
            self._drafter.extend(tokens)


class Batch:
    """The answers that one decoder writes at the same time, turn by turn. Not thread-safe."""

    def __init__(self, decoder: Decoder[Any]) -> None:
        self._decoder = decoder
        self._rows: dict[Writing, Row] = {}  # in the order in which they joined

    def __len__(self) -> int:
        return len(self._rows)

    def join(
        self, prompt_ids: Sequence[int], chooser: Chooser, max_tokens: int, *, draft: bool = True
    ) -> Writing:
        """Begin an answer; it takes a place, finished or not, until it leaves.

        Args:
            prompt_ids: what to read first, at least one token.
            chooser: a fresh one.
            max_tokens: the longest answer, at least one token; at most a context with the prompt.
            draft: whether to guess tokens, which changes the speed alone; without effect where the
                decoder is not exact.

        Raises:
            ValueError: prompt or answer is empty, or both together exceed the context.
        """
        length = len(prompt_ids) + max_tokens
        if not prompt_ids or max_tokens < 1 or length > self._decoder.context:
            raise ValueError(
                f"a prompt of {len(prompt_ids)} and an answer of {max_tokens} tokens: expected at "
                f"least one each and at most {self._decoder.context} together"
            )
        drafter = Drafter(prompt_ids) if draft and self._decoder.exact else None
        writing = Writing(prompt_ids, chooser, max_tokens, drafter)
        self._rows[writing] = self._decoder.open_row(length - 1)  # the last token is never read
        return writing

    def leave(self, writing: Writing) -> None:
        """Free the place of an answer, in whatever state; nothing happens to one that left."""
        self._rows.pop(writing, None)

    def advance(self) -> None:
        """Do one turn: read a slice of one sequence, then choose tokens for all that are read.

        One slice in a turn, of the sequence that joined first, so that the others keep writing.
        """
        self._read()
        self._step()

    def _read(self) -> None:
        for writing, row in self._rows.items():
            if writing.finish_reason is None and len(writing.unread) > 1:
                row.truncate(writing.held)
                upto = min(SLICE, len(writing.unread) - 1)
                self._decoder.read(row, writing.unread[:upto])
                writing.held += upto
                return

    def _step(self) -> None:
        ready = [
            (writing, row)
            for writing, row in self._rows.items()
            if writing.finish_reason is None and len(writing.unread) == 1
        ]
        if not ready:
            return
        drafts = [writing.draft(STEP // len(ready) - 1) for writing, _ in ready]
        appended = []
        for (writing, row), draft in zip(ready, drafts, strict=True):
            row.truncate(writing.held)
            appended.append((row, [*writing.unread, *draft]))
        logits = self._decoder.step(appended)
        for (writing, _), draft, rows in zip(ready, drafts, logits, strict=True):
            writing.accept(draft, rows)
