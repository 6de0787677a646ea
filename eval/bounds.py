"""What trivial systems score on a file: the bounds of "Hurdles to Progress in Long-form QA".

Lower bounds answer without understanding: the question itself, or an answer to some training
question. Upper bounds answer with a gold answer, scored against the other ones.

Protocol: `generate_final_guess_bounds.py` of martiansideofthemoon/hurdles-longform-qa at 805baf7,
which leaves out records with fewer than two gold answers, for the lower bounds too, and stops at a
record with two equal ones (left out here). Of equals the first is taken. Gold bounds have no
meaning for the records left out; lower bounds do, so they are also given over all records.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.answer_metrics import exact_match_and_f1
from eval.errors import NotDiagnosable
from eval.golds import Question, derived_remark, longest, read_questions
from eval.published import BOUNDS, HURDLES_CODE
from eval.rouge_l import RougeText, max_rouge_l
from eval.scoring import DOWNSTREAM
from eval.significance import LEVEL, RESAMPLES, Values, bootstrap_intervals
from retriever.encoders import Progress

# What people read; short enough for a table on 80 columns.
LABELS = {
    "copy_input": "copy input",
    "random_train_ans": "random answer",
    "random_train_ans_longest": "random longest",
    "longest_gold": "longest gold",
    "best_gold": "best gold",
}
_COPIES = 5  # how often the published script repeats the question


@dataclass(frozen=True, slots=True)
class Bound:
    """A trivial system: its guess for a question, and the gold answers that it is scored against.

    A gold bound takes its guess from the gold answers, and is scored against the others.
    """

    name: str
    what: str
    guess: Callable[[Question], str]
    from_golds: bool

    def scores(self, question: Question) -> tuple[float, ...]:
        """The values of `DOWNSTREAM`, in their order."""
        guess = self.guess(question)
        if not guess:
            return (0.0,) * len(DOWNSTREAM)
        golds = [a for a in question.answers if not self.from_golds or a != guess]
        match, f1 = exact_match_and_f1(guess, golds)
        rougel = max_rouge_l(RougeText(guess), map(RougeText, golds))
        return float(guess in golds), match, f1, rougel


def bounds_report(
    gold: Path, train: Path | None, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Everything that `bounds` prints; without training questions no answer is drawn from them.

    Raises:
        EvalError: a file is refused.
        NotDiagnosable: no record has a gold answer.
    """
    questions = [question for question in read_questions(gold) if question.answers]
    if not questions:
        raise NotDiagnosable(f"{gold} holds no questions with answers; name a file that does")
    training = read_questions(train, progress) if train else []
    kept = [q for q in questions if len(q.answers) > 1 and not q.has_equal_answers]
    bounds = _bounds(training, seed)
    rows: dict[str, Any] = {}
    for number, bound in enumerate(bounds):
        asked = kept if bound.from_golds else questions
        scores = {}
        for question in asked:
            scores[question.id] = bound.scores(question)
            progress(number * len(questions) + len(scores), len(bounds) * len(questions))
        rows[bound.name] = {
            "what": bound.what,
            "is": "upper" if bound.from_golds else "lower",
            "protocol": _summary([scores[question.id] for question in kept], seed),
            "all_records": None if bound.from_golds else _summary(list(scores.values()), seed),
            "published_dev_rougel": BOUNDS[bound.name],
        }
    progress(1, 1)
    return {
        "bounds": rows,
        "counts": {
            "records_with_answers": len(questions),
            "protocol": len(kept),
            "with_one_answer": sum(len(q.answers) == 1 for q in questions),
            "with_equal_answers": sum(q.has_equal_answers for q in questions),
            "training_questions": len(training),
            "training_answers": sum(len(q.answers) for q in training),
        },
        "intervals": {"level": LEVEL, "resamples": RESAMPLES, "seed": seed},
        "published": HURDLES_CODE,
        **derived_remark([*questions, *training]),
        "files": {"gold": str(gold), "train": str(train) if train else None},
    }


def copy_input(question: Question) -> str:
    """The question five times."""
    return " ".join([question.text] * _COPIES).strip()


def longest_gold(question: Question) -> str:
    """The gold answer with most words."""
    return longest(question.answers)


def best_gold(question: Question) -> str:
    """The gold answer that is nearest, by ROUGE-L, to another one."""
    texts = [RougeText(answer) for answer in question.answers]
    scores = [
        max_rouge_l(text, texts[:number] + texts[number + 1 :]) for number, text in enumerate(texts)
    ]
    return question.answers[scores.index(max(scores))]


def _bounds(training: Sequence[Question], seed: int) -> list[Bound]:
    every = [answer for question in training for answer in question.answers]
    longest_ones = [longest(question.answers) for question in training if question.answers]
    drawn = [
        Bound(
            "random_train_ans",
            "an answer drawn from all training answers",
            _drawing(every, seed),
            False,
        ),
        Bound(
            "random_train_ans_longest",
            "the longest answer to a random training question",
            _drawing(longest_ones, seed),
            False,
        ),
    ]
    return [
        Bound("copy_input", "the question, five times", copy_input, False),
        *(drawn if every else ()),
        Bound("longest_gold", "the longest gold answer against the others", longest_gold, True),
        Bound("best_gold", "the gold answer nearest to another one", best_gold, True),
    ]


def _drawing(answers: Sequence[str], seed: int) -> Callable[[Question], str]:
    """Draw by the question, so that its answer does not depend on which others are asked."""

    def draw(question: Question) -> str:
        return random.Random(f"{seed} {question.id!r}").choice(answers)  # noqa: S311

    return draw


def _summary(scores: Sequence[tuple[float, ...]], seed: int) -> dict[str, Any] | None:
    """Figures and their intervals over some questions; None where there are none."""
    if not scores:
        return None
    table: Values = np.array(scores, dtype=np.float64)
    return {
        "records": len(scores),
        "figures": dict(zip(DOWNSTREAM, _means(scores), strict=True)),
        "intervals": dict(zip(DOWNSTREAM, bootstrap_intervals(table, seed), strict=True)),
    }


def _means(scores: Sequence[tuple[float, ...]]) -> Iterable[float]:
    """The mean of each column, summed from left to right as the official scorer does."""
    return (sum(column) / len(scores) for column in zip(*scores, strict=True))
