from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rag_rt.choosing import Chooser, Sampling, Scores, least_weight

V = 5  # so few that rules and repetitions matter often
END = 0
# At least hundredths apart, so that rounding changes no places; often all negative.
Logits = st.tuples(
    st.lists(st.integers(-300, 300), min_size=V, max_size=V, unique=True),
    st.sampled_from([0, -350]),
).map(lambda drawn: np.array(drawn[0], dtype=np.float32) / 100 + np.float32(drawn[1] / 100))
Tokens = st.lists(st.integers(1, V - 1), max_size=20)
Rules = st.fixed_dictionaries(
    {
        "repetition_penalty": st.sampled_from([0.7, 1.0, 1.3]),
        "no_repeat_ngram": st.sampled_from([0, 1, 2, 3]),
        "bias": st.dictionaries(st.integers(0, V - 1), st.floats(-3, 3, width=16), max_size=4),
    }
)
Draws = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.3, 1.0, 1.7]),
        "top_k": st.sampled_from([0, 1, 5, 100]),
        "top_p": st.sampled_from([1e-6, 0.3, 0.9, 1.0]),
        "min_p": st.sampled_from([0.0, 0.05, 0.5]),
    }
)


def chooser(written: list[int] | None = None, **sampling: Any) -> Chooser:
    made = Chooser(Sampling(**sampling), [END])
    made.extend(written or [])
    return made


def processed(written: list[int], logits: Scores, rules: dict[str, Any]) -> torch.Tensor:
    """Scores (V,) as transformers' processors make them, in the order of its `generate`."""
    processors = LogitsProcessorList()
    if rules["bias"]:
        bias: Any = {(token,): float(value) for token, value in rules["bias"].items()}
        processors.append(SequenceBiasLogitsProcessor(bias))
    if rules["repetition_penalty"] != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(rules["repetition_penalty"]))
    if rules["no_repeat_ngram"]:
        processors.append(NoRepeatNGramLogitsProcessor(rules["no_repeat_ngram"]))
    ids: Any = torch.tensor([written], dtype=torch.long)
    scores: Any = torch.from_numpy(logits.copy())[None]
    return processors(ids, scores)[0]


@given(Logits, Tokens.filter(bool), Rules)
def test_greedy_choices_are_those_of_transformers_processors(
    logits: Scores, written: list[int], rules: dict[str, Any]
) -> None:
    expected = int(processed(written, logits, rules).argmax())
    assert chooser(written, **rules).choose(logits) == (None if expected == END else expected)


def kept_by_transformers(scores: Scores, draw: dict[str, Any], slack: float) -> set[int]:
    warpers = LogitsProcessorList([TemperatureLogitsWarper(draw["temperature"])])
    if draw["top_k"]:
        warpers.append(TopKLogitsWarper(draw["top_k"]))
    if draw["top_p"] < 1:
        warpers.append(TopPLogitsWarper(draw["top_p"] + slack))
    if draw["min_p"]:
        warpers.append(MinPLogitsWarper(draw["min_p"] - slack))
    empty: Any = torch.empty((1, 0), dtype=torch.long)
    double: Any = torch.from_numpy(scores.astype(np.float64))[None]
    return set(torch.isfinite(warpers(empty, double)[0]).nonzero()[:, 0].tolist())


@given(Logits, Draws)
def test_draws_are_among_what_transformers_warpers_keep(
    logits: Scores, draw: dict[str, Any]
) -> None:
    """Exactly those, but for sums of probabilities that differ from the bound by rounding."""
    weights = np.exp((logits - logits.max()) / np.float32(draw["temperature"]))
    kept = np.flatnonzero(weights >= least_weight(weights, Sampling(**draw)))
    fewest = kept_by_transformers(logits, draw, -1e-7)
    most = kept_by_transformers(logits, draw, 1e-7)
    assert fewest <= set(kept.tolist()) <= most


def test_equals_of_the_last_token_kept_are_kept() -> None:
    weights = np.array([1, 0.5, 0.5, 0.5, 0.1], dtype=np.float32)
    assert least_weight(weights, Sampling(top_k=2)) == 0.5
    assert least_weight(weights, Sampling(top_p=0.5)) == 0.5


@pytest.mark.parametrize("draw", [{}, {"top_p": 0.8}, {"top_k": 3, "min_p": 0.1}])
def test_tokens_are_drawn_as_often_as_they_are_likely(draw: dict[str, Any]) -> None:
    logits = np.linspace(-2, 1, V, dtype=np.float32)
    sampling: dict[str, Any] = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0} | draw
    kept = kept_by_transformers(logits, sampling, 0.0)
    weights = {token: float(np.exp(logits[token] / 0.8)) for token in kept}
    number = 4000
    drawn = Counter(chooser([1], seed=seed, **sampling).choose(logits) for seed in range(number))
    assert set(drawn) <= {None if token == END else token for token in kept}
    for token, weight in weights.items():
        share = weight / sum(weights.values())
        deviation = (share * (1 - share) / number) ** 0.5
        assert abs(drawn[None if token == END else token] / number - share) < 5 * deviation


@given(st.lists(Logits, min_size=1, max_size=6), Rules, Draws, st.integers(0, 2**63 - 1))
def test_choices_thrown_away_change_nothing(
    rows: list[Scores], rules: dict[str, Any], draw: dict[str, Any], seed: int
) -> None:
    once, often = (chooser(seed=seed, **rules, **draw) for _ in range(2))
    for logits in rows:
        for _ in range(3):
            often.choose(logits[::-1].copy())
        token = once.choose(logits)
        assert often.choose(logits) == token
        once.extend([token or 1])
        often.extend([token or 1])


@given(Tokens, Tokens, st.data(), Rules, Logits)
def test_rules_see_the_answer_as_it_is_after_a_rewind(
    first: list[int], second: list[int], data: st.DataObject, rules: dict[str, Any], logits: Scores
) -> None:
    rewound = chooser(first, **rules)
    length = data.draw(st.integers(0, len(first)))
    rewound.rewind(length)
    rewound.extend(second)
    fresh = chooser(first[:length] + second, **rules)
    assert rewound.tokens == fresh.tokens
    assert rewound.choose(logits) == fresh.choose(logits)


def draws_after(rewinds: int, seed: int) -> list[int]:
    logits = np.zeros(1000, dtype=np.float32)
    made = chooser(temperature=1.0, seed=seed)
    for _ in range(rewinds):
        made.extend([7, 8])
        made.rewind(1)
    for _ in range(5):
        made.extend([made.choose(logits) or 1])
    return made.tokens[-5:]


def test_a_rewind_brings_new_draws_that_the_seed_fixes() -> None:
    assert draws_after(2, seed=5) == draws_after(2, seed=5)
    assert len({tuple(draws_after(n, seed)) for n in range(4) for seed in range(4)}) == 16


def test_an_answer_rewound_with_another_sampling_goes_on_by_it() -> None:
    logits = np.array([0, 1, 2, 3], dtype=np.float32)
    made = chooser([1, 2, 3])
    made.rewind(2, Sampling(bias={1: 5.0}))
    assert made.choose(logits) == 1
    made.rewind(1, Sampling(no_repeat_ngram=1, bias={1: 5.0}))
    assert made.choose(logits) == 3


@given(Logits, Draws)
def test_an_answer_does_not_begin_with_its_end(logits: Scores, draw: dict[str, Any]) -> None:
    logits[END] = 50
    assert chooser(**draw).choose(logits) is not None
    assert chooser([1], **draw).choose(logits) is None


def test_the_coldest_draw_is_greedy() -> None:
    logits = np.array([0, 2, 1, 1.9], dtype=np.float32)
    tokens = {chooser(temperature=1e-40, seed=seed).choose(logits) for seed in range(50)}
    assert tokens == {1}


def test_without_a_seed_draws_differ() -> None:
    logits = np.zeros(10**6, dtype=np.float32)
    assert len({chooser(temperature=1.0).choose(logits) for _ in range(4)}) > 1
