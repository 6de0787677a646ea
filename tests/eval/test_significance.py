"""Intervals that cover, tests that keep their level, numbers that repeat."""

import numpy as np
import pytest

from eval.significance import (
    bootstrap_gaps,
    bootstrap_intervals,
    bootstrap_ratio,
    compare_paired,
    permutation_p_values,
)


def noise(seed: int, questions: int = 200, metrics: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(questions, metrics))


def test_intervals_hold_the_mean_and_have_the_textbook_width() -> None:
    values = noise(1, questions=400)
    for column, interval in enumerate(bootstrap_intervals(values, 0)):
        assert interval is not None
        low, high = interval
        assert low < values[:, column].mean() < high
        textbook = 2 * 1.96 * values[:, column].std() / 20
        assert high - low == pytest.approx(textbook, rel=0.1)


def test_constant_figures_have_intervals_without_width() -> None:
    assert bootstrap_intervals(np.full((7, 1), 0.5), 0) == [(0.5, 0.5)]


def test_nothing_to_resample_gives_no_interval_and_no_finding() -> None:
    empty = np.zeros((0, 2))
    assert bootstrap_intervals(empty, 0) == [None, None]
    assert [result.p_value for result in compare_paired(empty, empty, 0)] == [1, 1]


def test_equal_seeds_give_equal_numbers_and_others_differ() -> None:
    a, b = noise(1), noise(2)
    assert compare_paired(a, b, 3) == compare_paired(a, b, 3)
    assert compare_paired(a, b, 3) != compare_paired(a, b, 4)


def test_a_system_does_not_differ_from_itself() -> None:
    (result, *_) = compare_paired(noise(1), noise(1), 0)
    assert (result.difference, result.interval, result.p_value) == (0, (0, 0), 1)
    assert (result.better, result.worse) == (0, 0)


def test_swapping_the_systems_swaps_the_sign_alone() -> None:
    forth, back = compare_paired(noise(1), noise(2), 0)[0], compare_paired(noise(2), noise(1), 0)[0]
    assert forth.difference == -back.difference
    assert forth.p_value == back.p_value
    assert (forth.better, forth.worse) == (back.worse, back.better)
    assert forth.interval is not None
    assert back.interval is not None
    assert forth.interval[0] == pytest.approx(-back.interval[1])


def test_small_samples_have_the_exact_p_value() -> None:
    # Of the 32 ways to sign five equal differences two are as far from 0 as what was observed.
    assert permutation_p_values(np.ones((5, 1)), 0)[0] == pytest.approx(2 / 32, abs=0.01)


def test_the_smallest_p_value_is_not_zero() -> None:
    assert permutation_p_values(np.ones((100, 1)), 0)[0] == pytest.approx(1 / 10_001)


def test_without_a_difference_p_values_are_spread_evenly() -> None:
    p_values = permutation_p_values(noise(5, questions=60, metrics=400), 0)
    assert (p_values < 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert p_values.mean() == pytest.approx(0.5, abs=0.05)


def test_gaps_of_unlike_groups_have_the_textbook_width() -> None:
    a, b = noise(1, questions=100), noise(2, questions=400) + 1
    for interval, gap in zip(bootstrap_gaps(a, b, 0), b.mean(axis=0) - a.mean(axis=0), strict=True):
        assert interval is not None
        low, high = interval
        assert low < gap < high
        assert high - low == pytest.approx(2 * 1.96 * (1 / 100 + 1 / 400) ** 0.5, rel=0.2)


def test_a_group_without_questions_has_no_gap() -> None:
    assert bootstrap_gaps(noise(1), np.empty((0, 3)), 0) == [None] * 3


def test_a_ratio_weighs_questions_by_their_size() -> None:
    parts, wholes = np.array([0.0, 9.0, 0.0] * 50), np.array([1.0, 10.0, 0.0] * 50)
    interval = bootstrap_ratio(parts, wholes, 0)
    assert interval is not None
    assert interval[0] < 9 / 11 < interval[1]
    assert bootstrap_ratio(np.zeros(3), np.zeros(3), 0) is None
