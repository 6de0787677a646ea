from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.answers import FinishReason
from rag_rt.batching import SLICE, Batch, Writing
from rag_rt.choosing import Chooser, Sampling
from rag_rt.drafting import FEWEST_TOKENS, Drafter
from tests.rag_rt.exact_decoder import SIZE, ExactDecoder

END = 0
Prompt = st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=30) | st.integers(
    SLICE - 1, 2 * SLICE + 2
).map(lambda length: [1 + n * n % (SIZE - 1) for n in range(length)])
Samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 40),
    temperature=st.sampled_from([0.0, 0.5, 1.0]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([0.8, 1.0]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.1]),
    no_repeat_ngram=st.sampled_from([0, 0, 5]),
    bias=st.sampled_from([{}, {END: -2.0}, {END: -50.0}, {2: 1.0}]),
    seed=st.integers(0, 99),
)
Noise = st.sampled_from([0.0, 0.3, 1.0])


def join(batch: Batch, prompt: Sequence[int], sampling: Sampling, *, draft: bool = True) -> Writing:
    return batch.join(prompt, Chooser(sampling, [END]), sampling.max_tokens, draft=draft)


def finish(batch: Batch, writing: Writing) -> Writing:
    for _ in range(1000):
        if writing.finish_reason is not None:
            return writing
        batch.advance()
    raise AssertionError("the answer does not end")


def write_plainly(
    prompt: list[int], sampling: Sampling, noise: float
) -> tuple[list[int], FinishReason]:
    """One token after another, without batch, drafts or cuts."""
    decoder = ExactDecoder(noise=noise)
    row = decoder.open_row(2000)
    read = prompt[:-1]
    for begin in range(0, len(read), SLICE):
        decoder.read(row, read[begin : begin + SLICE])
    chooser, last = Chooser(sampling, [END]), prompt[-1]
    while len(chooser.tokens) < sampling.max_tokens:
        token = chooser.choose(decoder.step([(row, [last])])[0][0].numpy())
        if token is None:
            return chooser.tokens, FinishReason.STOP
        chooser.extend([token])
        last = token
    return chooser.tokens, FinishReason.LENGTH


@given(Prompt, Samplings, Noise)
def test_an_answer_with_drafts_is_the_plain_one_token_for_token(
    prompt: list[int], sampling: Sampling, noise: float
) -> None:
    batch = Batch(ExactDecoder(noise=noise))
    writing = finish(batch, join(batch, prompt, sampling))
    assert (writing.tokens, writing.finish_reason) == write_plainly(prompt, sampling, noise)


def test_drafts_save_passes() -> None:
    """On a text that repeats itself, which the properties above rest on."""
    sampling = Sampling(max_tokens=60, bias={END: -50.0})
    batch = Batch(ExactDecoder(noise=0.3))
    writing = finish(batch, join(batch, [1, 2, 3], sampling))
    assert writing.steps + writing.accepted == len(writing.tokens) == 60
    assert 0 < writing.accepted < writing.drafted
    assert writing.steps < 40
    plain = finish(batch, join(batch, [1, 2, 3], sampling, draft=False))
    assert (plain.steps, plain.drafted, plain.tokens) == (60, 0, writing.tokens)


@given(
    st.lists(st.tuples(Prompt, Samplings, st.integers(0, 8)), min_size=1, max_size=5),
    st.lists(st.tuples(Prompt, Samplings, st.integers(0, 8), st.integers(0, 9)), max_size=4),
    Noise,
)
def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(
    staying: list[tuple[list[int], Sampling, int]],
    leaving: list[tuple[list[int], Sampling, int, int]],
    noise: float,
) -> None:
    batch = Batch(ExactDecoder(noise=noise))
    writings: dict[int, Writing] = {}
    guests: dict[int, Writing] = {}
    for turn in range(400):
        for number, (prompt, sampling, joins) in enumerate(staying):
            if turn == joins:
                writings[number] = join(batch, prompt, sampling)
        for number, (prompt, sampling, joins, stays) in enumerate(leaving):
            if turn == joins:
                guests[number] = join(batch, prompt, sampling)
            if turn == joins + stays:
                batch.leave(guests[number])
        batch.advance()
    assert len(batch) == len(staying)
    for number, (prompt, sampling, _) in enumerate(staying):
        writing = writings[number]
        expected = write_plainly(prompt, sampling, noise)
        assert (writing.tokens, writing.finish_reason) == expected


Cuts = st.lists(
    st.tuples(
        st.integers(1, 20),
        st.integers(0, 20),
        st.lists(st.integers(1, SIZE - 1), max_size=5),
        st.none() | Samplings,
    ),
    max_size=4,
)


def write_with_cuts(
    prompt: list[int], sampling: Sampling, cuts: list[Any], *, draft: bool, company: bool
) -> tuple[Sequence[int], FinishReason | None]:
    """At each length in turn, cut back to a shorter one and go on with given tokens."""
    batch = Batch(ExactDecoder())
    if company:
        join(batch, [3, 3, 1], Sampling(max_tokens=9))
    writing = join(batch, prompt, sampling, draft=draft)
    for reached, length, given_tokens, other in cuts:
        while writing.finish_reason is None and len(writing.tokens) < reached:
            batch.advance()
        if len(writing.tokens) >= reached:
            writing.rewind(min(length, reached), other)
            writing.extend(given_tokens)
    return finish(batch, writing).tokens, writing.finish_reason


@given(Prompt, Samplings, Cuts)
def test_cuts_and_given_tokens_lead_to_the_same_answer_with_drafts_and_in_company(
    prompt: list[int], sampling: Sampling, cuts: list[Any]
) -> None:
    plain = write_with_cuts(prompt, sampling, cuts, draft=False, company=False)
    assert write_with_cuts(prompt, sampling, cuts, draft=True, company=False) == plain
    assert write_with_cuts(prompt, sampling, cuts, draft=True, company=True) == plain


@given(Prompt, Samplings.filter(lambda sampling: sampling.temperature == 0), st.data())
def test_a_greedy_answer_that_was_cut_back_comes_again(
    prompt: list[int], sampling: Sampling, data: st.DataObject
) -> None:
    batch = Batch(ExactDecoder())
    writing = finish(batch, join(batch, prompt, sampling))
    first = list(writing.tokens)
    writing.rewind(data.draw(st.integers(0, len(first))))
    assert finish(batch, writing).tokens == first


@given(Prompt, Samplings, st.integers(0, 40))
def test_drafts_after_a_cut_continue_the_shortened_answer(
    prompt: list[int], sampling: Sampling, length: int
) -> None:
    batch = Batch(ExactDecoder(noise=0.3))
    writing = finish(batch, join(batch, prompt, sampling))
    writing.rewind(min(length, len(writing.tokens)))
    most = min(FEWEST_TOKENS, sampling.max_tokens - len(writing.tokens) - 1)
    assert writing.draft(FEWEST_TOKENS) == Drafter([*prompt, *writing.tokens]).draft(most)


def test_given_tokens_stand_in_the_answer_as_far_as_it_may_go() -> None:
    batch = Batch(ExactDecoder())
    writing = join(batch, [1, 2], Sampling(max_tokens=6, bias={END: -50.0}))
    writing.extend([4, 4, 4])
    assert list(finish(batch, writing).tokens[:3]) == [4, 4, 4]
    assert len(writing.tokens) == 6
    writing.rewind(4)
    writing.extend([5, 5, 5])
    assert list(writing.tokens[4:]) == [5, 5]
    assert writing.finish_reason is FinishReason.LENGTH


def test_given_tokens_continue_an_answer_that_had_ended() -> None:
    batch = Batch(ExactDecoder())
    writing = finish(batch, join(batch, [1, 2], Sampling(bias={END: 50.0})))
    assert (len(writing.tokens), writing.finish_reason) == (1, FinishReason.STOP)
    writing.extend([])
    finish(batch, writing)
    writing.extend([3, 3])
    assert list(finish(batch, writing).tokens[1:]) == [3, 3]


def test_others_write_while_a_long_prompt_is_read() -> None:
    decoder = ExactDecoder()
    batch = Batch(decoder)
    short = join(batch, [1, 2], Sampling(max_tokens=50, bias={END: -50.0}), draft=False)
    batch.advance()
    long, longer = (
        join(batch, [1] * length, Sampling(max_tokens=5, bias={END: -50.0}))
        for length in (2 * SLICE + 10, 3 * SLICE)
    )
    written = []
    decoder.calls.clear()
    for _ in range(6):
        batch.advance()
        written.append((len(short.tokens), bool(long.tokens), bool(longer.tokens)))
    assert written == [
        (2, False, False),
        (3, False, False),
        (4, True, False),
        (5, True, False),
        (6, True, False),
        (7, True, True),
    ]
    assert decoder.calls[:6:2] == [f"read {SLICE}", f"read {SLICE}", "read 9"]
    assert decoder.calls[6::2] == [f"read {SLICE}", f"read {SLICE}", f"read {SLICE - 1}"]


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_whoever_leaves_frees_the_place_in_any_state(turns: int) -> None:
    batch = Batch(ExactDecoder())
    writing = join(batch, [1] * (SLICE + 5), Sampling(max_tokens=4))
    for _ in range(turns):
        batch.advance()
    batch.leave(writing)
    batch.leave(writing)
    assert len(batch) == 0
    before = list(writing.tokens)
    batch.advance()
    assert writing.tokens == before


def test_a_decoder_that_is_not_exact_gets_no_drafts() -> None:
    decoder = ExactDecoder(noise=0.0)
    decoder.exact = False
    batch = Batch(decoder)
    writing = finish(batch, join(batch, [1, 2] * 9, Sampling(max_tokens=20)))
    assert writing.drafted == 0


@pytest.mark.parametrize(("prompt", "max_tokens"), [([], 1), ([1], 0), ([1] * 10, 11)])
def test_what_does_not_fit_the_context_is_an_error(prompt: list[int], max_tokens: int) -> None:
    batch = Batch(ExactDecoder(context=20))
    with pytest.raises(ValueError, match=f"{len(prompt)}.*{max_tokens} tokens.*at most 20"):
        batch.join(prompt, Chooser(Sampling(), [END]), max_tokens)
    batch.join([1] * 10, Chooser(Sampling(), [END]), 10)


def test_cutting_back_to_more_than_there_is_is_an_error() -> None:
    batch = Batch(ExactDecoder())
    with pytest.raises(ValueError, match="0 tokens, not 1"):
        join(batch, [1], Sampling()).rewind(1)
