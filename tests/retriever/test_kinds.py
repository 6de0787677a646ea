import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.errors import IndexingError
from retriever.kinds import (
    FLAT,
    NAMES,
    choose_kind,
    empty_index,
    lists_for,
    named_kind,
    resident_bytes,
)

MEGABYTE = 10**6


def test_ten_million_vectors_fit_into_500_megabytes() -> None:
    for dimension in (128, 384):
        kind = choose_kind(10_000_000, dimension, 500 * MEGABYTE)
        assert kind.name == "ivfpq"
        assert resident_bytes(kind, 10_000_000, dimension) <= 500 * MEGABYTE


def test_small_corpora_are_searched_exactly_and_larger_ones_by_the_best_codes_that_fit() -> None:
    assert choose_kind(40_000, 384, 500 * MEGABYTE) == FLAT
    assert choose_kind(700_000, 384, 500 * MEGABYTE).name == "sq"
    assert choose_kind(5_000_000, 384, 500 * MEGABYTE).name == "ivfpq"
    assert choose_kind(40_000, 384, 40 * MEGABYTE).name != "flat"


def test_a_budget_that_nothing_fits_is_refused_with_what_is_needed() -> None:
    with pytest.raises(IndexingError, match=r"36,000,000 vectors .* need 1,\d\d\d MB"):
        choose_kind(36_000_000, 384, 500 * MEGABYTE)


@given(
    st.integers(1, 50_000_000),
    st.integers(8, 1024),
    st.integers(33 * MEGABYTE, 10**10),
)
def test_what_is_chosen_fits_the_budget(passages: int, dimension: int, budget: int) -> None:
    try:
        kind = choose_kind(passages, dimension, budget)
    except IndexingError:
        smallest = named_kind("ivfpq", passages, dimension)
        assert resident_bytes(smallest, passages, dimension) > budget
    else:
        assert resident_bytes(kind, passages, dimension) <= budget


@pytest.mark.parametrize(
    ("dimension", "rotation"), [(128, "64_128"), (384, "64_192"), (768, "128_384")]
)
def test_product_codes_are_of_the_three_dimensions_in_six_that_vary_most(
    dimension: int, rotation: str
) -> None:
    assert named_kind("ivfpq", 10**7, dimension).factory.startswith(f"OPQ{rotation},")


def test_without_a_learned_rotation_no_dimension_is_left_out() -> None:
    assert named_kind("ivfpq", 5_000, 384).factory.startswith("RR384,")


@given(st.integers(1, 100_000_000))
def test_lists_are_a_power_of_two_with_enough_members_to_train(passages: int) -> None:
    lists = lists_for(passages)
    assert lists & (lists - 1) == 0
    assert lists == 1 or passages / lists >= 39 / 2**0.5


@given(st.sampled_from(NAMES), st.integers(1, 10**8), st.integers(1, 1100))
def test_every_name_is_an_index_for_any_size_and_dimension(
    name: str, passages: int, dimension: int
) -> None:
    kind = named_kind(name, passages, dimension)
    assert empty_index(kind, dimension).d == dimension
    assert f"{passages:,} vectors" in kind.describe(passages, dimension)


@pytest.mark.parametrize("name", ["", "nonsense", "IVF", "PQ7", "flat,", "LSH"])
def test_what_faiss_cannot_make_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(IndexingError, match=f"'{name}' is no kind of index"):
        named_kind(name, 1000, 384)


def test_a_factory_string_is_a_kind_of_that_name() -> None:
    kind = named_kind("IVF64,SQ8", 1000, 384)
    assert (kind.name, kind.factory, kind.expected_recall) == ("IVF64,SQ8", "IVF64,SQ8", None)
