"""Errors of the evaluation. Each message says where, what was found and what mends it.

EvalError
├── UnreadableFile        a guess or gold file cannot be opened or read
├── OutputNotWritten      a result cannot be written
├── PartialMismatch       a stopped prediction was begun with other settings
├── BadDetails            the details beside a guess file are broken
├── ExtraMissing          a package that this command needs is not installed
├── NotDiagnosable        the files given do not hold what a diagnosis needs
└── BadRecord             a line that the official scorer refuses or dies of
    ├── NotARecord            not one JSON object in UTF-8 on the line
    ├── BadId                 no id, or an id that stands twice
    ├── MissingGuess          a gold record that no guess answers
    ├── BadGuess              a guess without its one answer, or with broken provenance
    ├── BadGold               a gold record without what scoring needs
    ├── BadQuestion           a record that cannot be asked
    └── StrictRefusal         what the official scorer lets pass silently, under `--strict`
"""

from pathlib import Path


class EvalError(Exception):
    """Base of every error that the evaluation raises on purpose."""


class UnreadableFile(EvalError):
    """A guess or gold file cannot be opened or read."""


class OutputNotWritten(EvalError):
    """A result cannot be written."""


class PartialMismatch(EvalError):
    """A stopped prediction was begun with other settings."""


class BadDetails(EvalError):
    """The details beside a guess file are broken."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        """Say where (`line` counts from 1) and what is wrong."""
        super().__init__(
            f"{path}, line {line}: {problem}; predict anew, or remove the file to go on without it"
        )


class ExtraMissing(EvalError):
    """A package that this command needs is not installed."""


class NotDiagnosable(EvalError):
    """The files given do not hold what a diagnosis needs."""


class BadRecord(EvalError):
    """A line that the official scorer refuses or dies of; `record_id` is None if there is none."""

    def __init__(
        self, path: Path, line: int, record_id: str | None, problem: str, remedy: str
    ) -> None:
        """Say where (`line` counts from 1), what is wrong, and what to do about it."""
        self.path = path
        self.line = line
        self.record_id = record_id
        self.problem = problem
        self.remedy = remedy
        name = "" if record_id is None else f", record {record_id!r}"
        super().__init__(f"{path}, line {line}{name}: {problem}; {remedy}")


class NotARecord(BadRecord):
    """Not one JSON object in UTF-8 on the line."""


class BadId(BadRecord):
    """No id, or an id that stands twice."""


class MissingGuess(BadRecord):
    """A gold record that no guess answers."""


class BadGuess(BadRecord):
    """A guess without its one answer, or with broken provenance."""


class BadGold(BadRecord):
    """A gold record without what scoring needs."""


class BadQuestion(BadRecord):
    """A record that cannot be asked."""


class StrictRefusal(BadRecord):
    """What the official scorer lets pass silently, under `--strict`."""
