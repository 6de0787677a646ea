"""Are the answers using what was retrieved? Two runs of one system, with true and random passages.

The control of "Hurdles to Progress in Long-form QA" (Krishna et al. 2021, section 3.1): if answers
score as well, and hold as much of the true passages, when they were written from random ones, the
figures say nothing about retrieval. A change is random minus true, question by question.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.errors import NotDiagnosable
from eval.golds import Question, read_questions
from eval.interpretation import read_guess
from eval.ngram_overlap import MEASURES, PassageWords
from eval.records import AlignedFiles
from eval.rouge_l import RougeText, max_rouge_l
from eval.runs import Details, Run, details_path, differences, flat, read_run
from eval.score_reports import comparison_report
from eval.significance import LEVEL, Values, compare_paired
from rag_rt.answers import Support
from retriever.encoders import Progress

_WRITERS = ("true", "random", "gold")
_CONTROL = "retriever.random_passages"  # the setting that says that a run is one


@dataclass(frozen=True, slots=True)
class _Pair:
    """One question of both runs: what came of the true passages, then of the random ones."""

    question: Question
    answers: tuple[str, str]
    details: tuple[Details, Details]


def ablation_report(
    true: Path, random: Path, gold: Path, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Everything that `ablate` prints.

    Args:
        true: the guess file written from the retrieved passages, its details beside it.
        random: the same with random passages.
        gold: the gold records.
        seed: of the resampling.
        progress: told how many questions are looked at.

    Raises:
        EvalError: a file is refused.
        NotDiagnosable: a run does not tell its passages, or there is no question.
    """
    runs = read_run(true), read_run(random)
    pairs = _pairs(runs, gold)
    comparison = comparison_report(true, random, gold, seed=seed)
    shares = []
    for pair in pairs:
        shares.append(_shares(pair))
        progress(len(shares), len(pairs))
    table: Values = np.array(shares, dtype=np.float64)  # (questions, writers, passages, measures)
    return {
        "figures": {name: comparison[name] for name in ("official", "differences", "method")},
        "overlap": {
            measure: _overlap(table[..., column], seed) for column, measure in enumerate(MEASURES)
        },
        "answers": _answers(pairs, seed),
        "rougel_overlap_spearman": _spearman(pairs, table[:, 0, 0, 0]),
        "counts": {
            "records": len(pairs),
            "equal_answers": sum(pair.answers[0] == pair.answers[1] for pair in pairs),
            "with_a_shared_page": sum(_share_a_page(pair) for pair in pairs),
        },
        **{name: comparison[name] for name in ("note", "derived_sources")},
        "warnings": [*_differences(*runs), *comparison["warnings"]],
        "settings": {"true": runs[0].settings, "random": runs[1].settings},
        "files": {"true": str(true), "random": str(random), "gold": str(gold)},
    }


def verdict(report: Mapping[str, Any]) -> str:
    """What the overlap of content words with the true passages says, in one sentence."""
    change = report["overlap"]["content"]["change"]
    # By the test and not by the interval, which over a handful of questions is too narrow.
    if change["difference"] < 0 and change["p_value"] < 1 - LEVEL:
        return (
            "The answers use what was retrieved: written from random passages, they hold less of "
            "the retrieved ones."
        )
    return (
        "Not shown that the answers use what was retrieved: written from random passages, they "
        "hold as much of the retrieved ones, as far as these questions can tell."
    )


def supported_share(details: Details) -> float:
    """The share of an answer's sentences that are supported by the passages it was written from."""
    sentences = details.sentences or ()
    supported = sum(sentence.support is Support.SUPPORTED for sentence in sentences)
    return supported / len(sentences) if sentences else 0.0


def _pairs(runs: tuple[Run, Run], gold: Path) -> list[_Pair]:
    questions = read_questions(gold)
    if not questions:
        raise NotDiagnosable(f"{gold} holds no questions; name a file that does")
    answers = [_answers_by_id(run.guess, gold) for run in runs]
    return [
        _Pair(
            question,
            (answers[0][question.id], answers[1][question.id]),
            (_details(runs[0], question), _details(runs[1], question)),
        )
        for question in questions
    ]


def _answers_by_id(guess: Path, gold: Path) -> Mapping[str, str]:
    with AlignedFiles(guess, gold) as files:
        return {gold_record.id: read_guess(record).answer for record, gold_record in files}


def _details(run: Run, question: Question) -> Details:
    details = run.details.get(question.id)
    if details is None or not details.hits:
        found = "knows no passages" if details else "has nothing"
        raise NotDiagnosable(
            f"{details_path(run.guess)} {found} for record {question.id!r}; predict with a "
            "retriever, and keep the details file beside the guess file"
        )
    return details


def _shares(pair: _Pair) -> list[list[tuple[float, ...]]]:
    """(writers, passages, measures): the shares of the answers, and of the first gold answer."""
    passages = [PassageWords.of(details.hits) for details in pair.details]
    gold = pair.question.answers[0] if pair.question.answers else ""
    return [
        [words.shares(answer, pair.question.text) for words in passages]
        for answer in (*pair.answers, gold)
    ]


def _overlap(shares: Values, seed: int) -> dict[str, Any]:
    """One measure (questions, writers, passages): its means, and what random passages change.

    `change` compares both runs by their overlap with the *true* passages, of which the random run
    never saw a word.
    """
    means = shares.mean(axis=0).tolist()
    (change,) = compare_paired(shares[:, 0, :1], shares[:, 1, :1], seed)
    return {
        **{
            f"{writer}_answers": dict(zip(("true", "random"), row, strict=True))
            for writer, row in zip(_WRITERS, means, strict=True)
        },
        "change": asdict(change),
    }


def _answers(pairs: Sequence[_Pair], seed: int) -> dict[str, Any]:
    """Length and support of the answers; support only where both runs were grounded."""
    figures = {
        "words": _change([[len(answer.split()) for answer in pair.answers] for pair in pairs], seed)
    }
    if all(details.sentences is not None for pair in pairs for details in pair.details):
        shares = [[supported_share(details) for details in pair.details] for pair in pairs]
        figures["supported"] = _change(shares, seed)
    return figures


def _change(pairs: Sequence[Sequence[float]], seed: int) -> dict[str, Any]:
    """The means of both runs, and the change between them."""
    values: Values = np.array(pairs, dtype=np.float64)
    (change,) = compare_paired(values[:, :1], values[:, 1:], seed)
    true, random = values.mean(axis=0).tolist()
    return {"true": true, "random": random, **asdict(change)}


def _spearman(pairs: Sequence[_Pair], overlaps: Values) -> float | None:
    """Rank correlation of ROUGE-L and overlap (questions,), or None where either is constant."""
    rougel = [
        max_rouge_l(RougeText(pair.answers[0]), map(RougeText, pair.question.answers))
        for pair in pairs
    ]
    ranks = [_ranks(values) for values in (np.array(rougel), overlaps)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    correlations: Values = np.asarray(np.corrcoef(ranks))
    return float(correlations[0, 1])


def _ranks(values: Values) -> Values:
    """The ranks of values (N,), equal ones sharing the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (counts.cumsum() - (counts - 1) / 2)[places]
    return ranks


def _differences(true: Run, random: Run) -> Iterator[str]:
    """Settings, where runs tell theirs, that differ in more than the passages."""
    if _CONTROL in dict(flat(true.settings)):
        yield (
            f"{true.guess} was written from random passages itself; name the run with the "
            "retrieved ones first"
        )
    if not (true.settings and random.settings):
        return
    for name, here, there in differences(true.settings, random.settings):
        if name != _CONTROL:
            yield f"the runs differ in more than their passages: {name} is {here!r} and {there!r}"


def _share_a_page(pair: _Pair) -> bool:
    """Whether a random passage is of a page that was retrieved: the control is then none."""
    true, random = ({hit.passage.page_id for hit in details.hits} for details in pair.details)
    return not true.isdisjoint(random)
