"""Systems behind one interface: answers from given passages, whatever finds them."""

from eval.systems import Reading, System, open_system
from eval.systems.pipeline import PipelineReader
from rag_rt.answerer import NOT_FOUND, Answerer
from rag_rt.requests import Request
from rag_rt.settings import Settings

QUESTIONS = ["Why is the ocean salty?", "How do vaccines work?"]


def read(system: System, questions: list[str]) -> list[Reading]:
    return list(system.reader.read(questions, system.search(questions)))


def test_the_pipeline_answers_as_it_does_to_one_question(answerer: Answerer) -> None:
    system = System(PipelineReader(answerer, max_tokens=12, seed=0), answerer.retriever, 4)
    for question in QUESTIONS:
        (reading,) = read(system, [question])
        answer = answerer.answer(Request(question, k=4, max_tokens=12, seed=0))
        assert (reading.text, reading.sentences) == (answer.text, answer.sentences)
        assert [h.passage for h in reading.hits] == [h.passage for h in answer.hits]


def test_the_same_system_reads_random_passages(settings: Settings) -> None:
    system = open_system(settings, k=4, max_tokens=12, seed=0, check_coverage=False)
    random = system.with_random_passages(seed=0)
    true, instead = read(system, QUESTIONS), read(random, QUESTIONS)
    for reading, other in zip(true, instead, strict=True):
        assert other.text not in (NOT_FOUND, reading.text)
        pages = {hit.passage.page_id for hit in reading.hits}
        assert not pages & {hit.passage.page_id for hit in other.hits}
