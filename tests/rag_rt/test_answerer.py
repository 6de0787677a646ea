import dataclasses

import pytest

from rag_rt.answerer import NOT_FOUND, Answerer
from rag_rt.answers import Answer, FinishReason, Status, Support
from rag_rt.events import Finished, Grounded, Retrieved, Wrote
from rag_rt.requests import Request


@pytest.fixture(scope="module")
def ocean(answerer: Answerer) -> Answer:
    return answerer.answer(Request("Why is the ocean salty?"))


def check(answer: Answer) -> None:
    """What is true of every answer."""
    passages = {hit.passage.id: hit.passage.text for hit in answer.hits}
    covered = "".join(answer.text[s.start : s.end] for s in answer.sentences)
    assert "".join(covered.split()) == "".join(answer.text.split())
    for sentence in answer.sentences:
        assert bool(sentence.evidence) is (sentence.support is Support.SUPPORTED)
        for evidence in sentence.evidence:
            quoted = passages[evidence.passage_id][evidence.start : evidence.end]
            assert quoted == evidence.quote


def test_a_question_gets_a_paragraph_that_rests_on_its_passages(ocean: Answer) -> None:
    check(ocean)
    assert ocean.status is Status.ANSWERED
    assert "salt" in ocean.text
    assert any(s.support is Support.SUPPORTED for s in ocean.sentences)
    assert len(ocean.hits) == 8
    assert ocean.text == ocean.text.strip()
    assert ocean.usage.completion_tokens > 10
    stages = dataclasses.asdict(ocean.timings)
    total = stages.pop("total")
    assert 0 < sum(stages.values()) <= total


def test_the_same_question_gets_the_same_answer(answerer: Answerer, ocean: Answer) -> None:
    again = answerer.answer(Request("  Why is the\n ocean salty? "))
    assert (again.text, again.sentences, again.hits) == (ocean.text, ocean.sentences, ocean.hits)


def test_events_come_in_order_and_make_up_the_answer(answerer: Answerer) -> None:
    request = Request("How do vaccines work?", k=5, temperature=0.8, top_p=0.9, seed=3)
    events = list(answerer.stream(request))
    retrieved, finished = events[0], events[-1]
    assert isinstance(retrieved, Retrieved)
    assert isinstance(finished, Finished)
    answer = finished.answer
    check(answer)
    assert retrieved.hits == answer.hits
    text, sentences = "", 0
    for event in events[1:-1]:
        if isinstance(event, Wrote):
            text += event.text
        else:
            assert isinstance(event, Grounded)
            assert event.index == sentences
            assert event.sentence == answer.sentences[sentences]
            assert event.sentence.end <= len(text)
            sentences += 1
    assert text == answer.text
    assert sentences == len(answer.sentences)
    again = answerer.answer(request)
    assert dataclasses.replace(again, timings=answer.timings) == answer


@pytest.mark.parametrize(
    "question",
    [
        "Почему океан солёный?",
        "海はなぜ塩辛いのですか",
        "¿Por qué es salado el mar?",
        "لماذا البحر مالح؟",
        "What did my aunt Gertrude cook for dinner yesterday?",
        "How do I reset my Netgear router password?",
        "blorptastic zizzlewump snarf",
    ],
)
def test_a_question_that_the_corpus_does_not_cover_is_told_so(
    answerer: Answerer, question: str
) -> None:
    answer = answerer.answer(Request(question))
    check(answer)
    assert answer.status is Status.NOT_FOUND
    assert answer.text == NOT_FOUND
    assert {s.support for s in answer.sentences} == {Support.UNSUPPORTED}


def test_an_answer_cut_at_its_length_says_so(answerer: Answerer) -> None:
    answer = answerer.answer(Request("How does photosynthesis work?", max_tokens=5))
    check(answer)
    assert answer.usage.finish_reason is FinishReason.LENGTH
    assert answer.usage.completion_tokens == 5


def test_an_abandoned_answer_stops_the_work(answerer: Answerer) -> None:
    events = answerer.stream(Request("How does photosynthesis work?"))
    assert isinstance(next(events), Retrieved)
    assert isinstance(next(events), Wrote)
    events.close()
    assert list(events) == []


def test_the_longest_question_is_answered_or_refused_in_words(answerer: Answerer) -> None:
    check(answerer.answer(Request("why is the ocean salty " * 86, k=50, max_tokens=4)))
