"""How closely the starter generator stays on its sources, by prompt form.

Baselines: the question alone, and whole passages. Run: python -m benchmarks.prompt_forms
"""

import time

import numpy as np

from benchmarks.machine import machine
from rag_rt.answerer import Answerer
from rag_rt.answers import FinishReason, Status, Support
from rag_rt.evidence import EvidencePool
from rag_rt.prompting import CountTokens, PassagesForm, Prompt, PromptForm, RewriteForm
from rag_rt.requests import Request
from rag_rt.settings import load_settings

QUESTIONS = """\
Why is the ocean salty?
How do vaccines work?
What caused the fall of the Roman Empire?
How does photosynthesis work?
Why is the sky blue?
What causes inflation?
How does a nuclear reactor work?
Why did the dinosaurs go extinct?
What is the difference between a virus and a bacterium?
How did the First World War start?
What does the heart do?
How do earthquakes happen?
What is democracy?
Who was Marie Curie and what did she discover?
How is steel made?
Why do leaves change colour?
How does the stock market work?
What is quantum mechanics about?
What is mercury used for?
Why do we have leap years?""".splitlines()


class QuestionAlone:
    """No evidence at all."""

    def build(self, pool: EvidencePool, question: str, room: int, count: CountTokens) -> Prompt:
        """See `PromptForm`."""
        return Prompt(({"role": "user", "content": question},))


def main() -> None:
    settings = load_settings()
    answerer = Answerer.from_settings(settings)
    encoder = answerer.encoder
    print(f"{len(QUESTIONS)} questions, {answerer.generator.name}, greedy; {machine()}\n")
    print("| form | similarity to source | supported | repeated 4-grams | cut | words | seconds |")
    print("|---|---|---|---|---|---|---|")
    forms: dict[str, PromptForm] = {
        "question alone": QuestionAlone(),
        "whole passages": PassagesForm(),
        "rewrite picked sentences": RewriteForm(),
    }
    for name, form in forms.items():
        form_answerer = Answerer(
            answerer.retriever, answerer.generator, form, min_relevance=settings.min_relevance
        )
        similarities: list[float] = []
        supported: list[bool] = []
        repeated, cut, words, seconds = [], [], [], []
        for question in QUESTIONS:
            begun = time.perf_counter()
            answer = form_answerer.answer(Request(question))
            seconds.append(time.perf_counter() - begun)
            if answer.status is Status.NOT_FOUND:
                continue
            pool = EvidencePool.gather(question, answer.hits, encoder)
            texts = [answer.text[s.start : s.end] for s in answer.sentences]
            similarities += (encoder.encode(texts) @ pool.vectors.T).max(axis=1).tolist()
            supported += [s.support is Support.SUPPORTED for s in answer.sentences]
            repeated.append(repeated_share(answer.text.lower().split()))
            cut.append(answer.usage.finish_reason is FinishReason.LENGTH)
            words.append(len(answer.text.split()))
        print(
            f"| {name} | {np.mean(similarities):.2f} | {np.mean(supported):.0%} "
            f"| {np.mean(repeated):.1%} | {np.mean(cut):.0%} | {np.mean(words):.0f} "
            f"| {np.median(seconds):.1f} |"
        )


def repeated_share(words: list[str]) -> float:
    """The share of 4-grams that came before in the same answer."""
    ngrams = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


if __name__ == "__main__":
    main()
