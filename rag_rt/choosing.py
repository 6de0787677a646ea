"""The next token from logits: what is favoured or forbidden, and the draw.

Each rule gives what transformers' processor of the same name gives (tests hold them to that); they
are written anew because they are asked for every token, drafts included: at a vocabulary of 49,152
transformers' nucleus alone takes as long as half a pass of the starter model, since it sorts all.

Glossary: V vocabulary.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

Scores = npt.NDArray[np.float32]

COLDEST = 1e-4  # temperature; colder ones are equal to it unless logits differ by less than 0.01


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Args:
        max_tokens: the longest answer.
        temperature: 0 always takes the likeliest (greedy), and the next three change nothing.
        top_k: draw among so many likeliest; 0 among all.
        top_p: draw among the fewest likeliest that together have this probability (Holtzman 2020).
        min_p: draw among those at least so likely as this share of the likeliest (Nguyen 2024).
        repetition_penalty: above 1 makes tokens of the answer less likely to come again.
        no_repeat_ngram: so many tokens in a row never come twice in the answer; 0 for no limit.
        bias: added to the logits of these tokens.
        seed: makes the draws reproducible; None draws differently each time.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None


class Chooser:
    """Chooses the tokens of one answer, one after another.

    A choice depends on the logits, the answer so far, the seed and how often the answer was
    rewound, on nothing else: not on how many choices were made and thrown away.
    """

    def __init__(self, sampling: Sampling, ends: Sequence[int]) -> None:
        """Begin an answer.

        Args:
            sampling: how to choose.
            ends: the tokens that end an answer; it has at least one other token.
        """
        self.tokens: list[int] = []
        """The answer so far, without its prompt."""
        self._ends = list(ends)
        self._key = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._rewinds = 0
        self._use(sampling)

    def choose(self, logits: Scores) -> int | None:
        """The token that follows the answer so far, from logits (V,); None ends it."""
        scores = logits.copy()
        scores[self._biased] += self._bias
        if not self.tokens:
            scores[self._ends] = -np.inf
        penalty = self._sampling.repetition_penalty
        if penalty != 1 and self.tokens:
            written = list(set(self.tokens))
            known = scores[written]
            scores[written] = np.where(known < 0, known * penalty, known / penalty)
        if self._sampling.no_repeat_ngram:
            scores[self._followers.get(self._prefix(len(self.tokens)), [])] = -np.inf
        token = int(scores.argmax()) if self._sampling.temperature == 0 else self._draw(scores)
        return None if token in self._ends else token

    def extend(self, tokens: Sequence[int]) -> None:
        """Append chosen or given tokens to the answer."""
        for token in tokens:
            if self._sampling.no_repeat_ngram:
                self._followers.setdefault(self._prefix(len(self.tokens)), []).append(token)
            self.tokens.append(token)

    def rewind(self, length: int, sampling: Sampling | None = None) -> None:
        """Forget the answer from its token `length` on, and choose anew from there.

        Rules see the shortened answer. Draws are new ones, which depend on the seed and on how many
        times the answer was rewound. A greedy choice would be the same again, so it takes a
        `sampling` of its own, whose seed and length do not count, to choose otherwise.
        """
        del self.tokens[length:]
        self._rewinds += 1
        self._use(sampling or self._sampling)

    def _use(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._biased = np.array(list(sampling.bias), dtype=np.int64)
        self._bias = np.array(list(sampling.bias.values()), dtype=np.float32)
        self._followers: dict[tuple[int, ...], list[int]] = {}  # of n - 1 tokens in a row
        written, self.tokens = self.tokens, []
        self.extend(written)

    def _prefix(self, end: int) -> tuple[int, ...]:
        """The n - 1 tokens before a place in the answer, or all where there are fewer."""
        return tuple(self.tokens[max(0, end - self._sampling.no_repeat_ngram + 1) : end])

    def _draw(self, scores: Scores) -> int:
        temperature = np.float32(max(self._sampling.temperature, COLDEST))
        weights = np.exp((scores - scores.max()) / temperature)
        weights[weights < least_weight(weights, self._sampling)] = 0
        sums = _cumulated(weights)
        return int(np.searchsorted(sums, self._share() * sums[-1]))

    def _share(self) -> float:
        """A number in (0, 1] of this place in the answer (counter-based: Salmon et al. 2011)."""
        place = [0, 0, len(self.tokens), self._rewinds]
        numbers = np.random.Generator(np.random.Philox(counter=place, key=self._key))
        return 1 - numbers.random()


def least_weight(weights: Scores, sampling: Sampling) -> float:
    """The weight that a token must have to be drawn; equals of the last that is kept are kept.

    Args:
        weights: (V,) in proportion to the probabilities, 1 for the likeliest.
        sampling: gives `top_k`, `top_p` and `min_p`, applied in this order.
    """
    least = sampling.min_p
    if 0 < sampling.top_k < len(weights):
        kth = float(np.partition(weights, -sampling.top_k)[-sampling.top_k])
        weights = weights[weights >= kth]
        least = max(least, kth)
    if sampling.top_p < 1:
        least = max(least, _least_of_nucleus(weights, sampling.top_p))
    return least


def _least_of_nucleus(weights: Scores, top_p: float) -> float:
    total = float(weights.sum(dtype=np.float64))
    # Tokens that weigh less than this weigh together less than what the nucleus leaves out.
    unlikely = (1 - top_p) * total / len(weights)
    likely = -np.sort(-np.compress(weights >= unlikely, weights))
    sums = _cumulated(likely)
    last = min(int(np.searchsorted(sums, top_p * total)), len(likely) - 1)
    return float(likely[last])


def _cumulated(weights: Scores) -> npt.NDArray[np.float64]:
    """Sums of the first 1, 2, … weights; torch takes a sixth of numpy's time."""
    sums: npt.NDArray[np.float64] = torch.from_numpy(weights).cumsum(0, dtype=torch.float64).numpy()
    return sums
