"""What a report shows, gathered from runs and their gold file; no looks, no plots."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.ablation import ablation_report
from eval.bounds import bounds_report
from eval.errors import NotDiagnosable
from eval.golds import read_questions
from eval.records import AlignedFiles
from eval.rouge_l import RougeText, rouge_l
from eval.runs import Details, Run, read_run
from eval.score_reports import score_report
from eval.scoring import ScoredRecord, Scorer
from rag_rt.answers import Support
from retriever.encoders import Progress


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer; title and quote are of its best evidence, empty without any."""

    text: str
    support: Support
    title: str = ""
    quote: str = ""

    @property
    def supported(self) -> bool:
        """Whether it is supported as a whole."""
        return self.support is Support.SUPPORTED


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer of a run; no sentences where the run has not grounded it."""

    id: str
    question: str
    text: str
    gold: str
    """The gold answer that gives the answer its ROUGE-L."""
    rougel: float
    f1: float
    rprec: float
    sentences: tuple[Sentence, ...]

    @property
    def words(self) -> int:
        """Words between white space."""
        return len(self.text.split())

    @property
    def supported_share(self) -> float | None:
        """The share of sentences supported as a whole; None where nothing was grounded."""
        supported = sum(sentence.supported for sentence in self.sentences)
        return supported / len(self.sentences) if self.sentences else None


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run: its scores as `score` reports them, its answers, its ablation if it has one."""

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, Any]
    answers: tuple[AnswerRow, ...]
    ablation: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page."""

    gold: Path
    runs: tuple[RunReport, ...]
    bounds: Mapping[str, Any]
    gold_words: tuple[int, ...]

    @property
    def note(self) -> str | None:
        """What must be said beside every figure over derived data."""
        note: str | None = self.bounds["note"]
        return note

    @property
    def sources(self) -> Mapping[str, int]:
        """How many of the questions are from which source other than KILT."""
        sources: Mapping[str, int] = self.runs[0].scores["derived_sources"]
        return sources

    def as_json(self) -> dict[str, Any]:
        """The figures, for a program."""
        return {
            "runs": [
                {
                    "name": run.name,
                    "settings": run.settings,
                    "scores": run.scores,
                    "words": [answer.words for answer in run.answers],
                    "supported_shares": [answer.supported_share for answer in run.answers],
                    "ablation": run.ablation,
                }
                for run in self.runs
            ],
            "bounds": self.bounds,
            "note": self.note,
            "derived_sources": self.sources,
            "files": {"gold": str(self.gold)},
        }


def gather(
    guesses: Sequence[Path],
    gold: Path,
    randoms: Sequence[Path],
    train: Path | None,
    *,
    seed: int,
    progress: Progress,
) -> ReportData:
    """Score and diagnose runs.

    Args:
        guesses: the guess files, their details beside them where there are some.
        gold: the gold records.
        randoms: the runs with random passages that belong to the first of `guesses`, in order.
        train: training questions for the bounds, or None.
        seed: of the resampling.
        progress: told how many steps are done.

    Raises:
        EvalError: a file is refused.
        NotDiagnosable: there are more `randoms` than `guesses`, or no gold records.
    """
    if len(randoms) > len(guesses):
        raise NotDiagnosable(
            f"{len(randoms)} runs with random passages for {len(guesses)} runs; give one for each"
        )
    names = _names(guesses)
    steps = len(guesses) + 1
    progress(0, steps)
    bounds = bounds_report(gold, train, seed=seed, progress=_unseen)
    runs = []
    for number, guess in enumerate(guesses):
        progress(number + 1, steps)
        control = randoms[number] if number < len(randoms) else None
        runs.append(_run_report(names[number], guess, gold, control, seed))
    progress(steps, steps)
    return ReportData(gold, tuple(runs), bounds, _gold_words(gold))


def _unseen(done: int, total: int) -> None:
    """The steps of a step are not shown."""


def _names(guesses: Sequence[Path]) -> list[str]:
    """The stems of the files, or their whole paths where two have the same."""
    stems = Counter(guess.stem for guess in guesses)
    return [guess.stem if stems[guess.stem] == 1 else str(guess) for guess in guesses]


def _run_report(name: str, guess: Path, gold: Path, control: Path | None, seed: int) -> RunReport:
    scores = score_report(guess, gold, None, strict=False, google=False, seed=seed)
    run = read_run(guess)
    with AlignedFiles(guess, gold) as files:
        answers = tuple(_answer_row(record, run) for record in Scorer(files))
    ablation = None
    if control is not None:
        ablation = ablation_report(guess, control, gold, seed=seed, progress=_unseen)
    return RunReport(name, run.settings, scores, answers, ablation)


def _answer_row(record: ScoredRecord, run: Run) -> AnswerRow:
    name = str(record.score.id).strip()
    text = record.guess.answer
    guess = RougeText(text)
    gold = max(record.gold.answers, key=lambda a: rouge_l(guess, RougeText(a)), default="")
    score = record.score
    return AnswerRow(
        name,
        record.gold.question,
        text,
        gold,
        score.rougel,
        score.f1,
        score.rprec,
        _sentences(text, run.details.get(name)),
    )


def _sentences(text: str, details: Details | None) -> tuple[Sentence, ...]:
    if details is None or details.sentences is None:
        return ()
    titles = {hit.passage.id: hit.passage.title for hit in details.hits}
    found = []
    for sentence in details.sentences:
        written = text[sentence.start : sentence.end]
        if sentence.evidence:
            best = sentence.evidence[0]
            found.append(Sentence(written, sentence.support, titles[best.passage_id], best.quote))
        else:
            found.append(Sentence(written, sentence.support))
    return tuple(found)


def _gold_words(gold: Path) -> tuple[int, ...]:
    """The words of every gold answer."""
    return tuple(len(answer.split()) for q in read_questions(gold) for answer in q.answers)
