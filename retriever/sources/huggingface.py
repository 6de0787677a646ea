"""Any dataset with a title and a text: by its name on the Hugging Face Hub, or in a local folder.

Rows are streamed; nothing is kept on the disk. `datasets` reads data files alone and runs no code
of a dataset's.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retriever.errors import SourceError
from retriever.sources.formats import Format, Source
from retriever.sources.inputs import STDIN, file_input
from retriever.sources.jsonl import page_of
from retriever.sources.records import Malformed, Record

_SPLIT = "train"
_COLUMNS = ("id", "url", "title", "text")
_ENGLISH_WIKIPEDIA = ("wikimedia/wikipedia", ".en")


def _open(path: str) -> Source:
    if path == STDIN:
        raise SourceError("the source 'huggingface' reads no pipe; name a dataset or a folder")
    is_folder = Path(path).is_dir()
    name, _, config = (path, "", "") if is_folder else path.partition(":")
    revision = None if is_folder else _revision(name)
    repository, suffix = _ENGLISH_WIKIPEDIA
    return Source(
        "huggingface",
        f"dataset {Path(path).resolve().name if is_folder else path}",
        _fingerprint(Path(path)) if revision is None else f"{path}@{revision}",
        wikipedia_ids=name == repository and config.endswith(suffix),
        records=lambda: _records(path, name, config or None, revision),
    )


def _revision(name: str) -> str:
    """The commit that a dataset's name stands for now, so that it is read the same every time."""
    from huggingface_hub import HfApi

    try:
        revision = HfApi().dataset_info(name, timeout=30).sha
    except Exception as error:
        raise SourceError(
            f"there is no folder {name}, and the Hugging Face Hub gives no dataset of that name "
            f"({_brief(error)}); name one as NAME or NAME:CONFIG, for example {FORMAT.example}"
        ) from error
    return str(revision)


def _fingerprint(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    everything = "\n".join(
        f"{file.relative_to(folder)} {file_input(file).fingerprint}" for file in files
    )
    return f"sha256:{hashlib.sha256(everything.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _records(path: str, name: str, config: str | None, revision: str | None) -> Iterator[Record]:
    try:
        for number, row in enumerate(_rows(name, config, revision), 1):
            place = f"{path}, row {number:,}"
            try:
                yield place, page_of(row, f"row-{number}")
            except Malformed as error:
                yield place, error
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"the dataset {path} cannot be read ({_brief(error)})") from error


def _rows(name: str, config: str | None, revision: str | None) -> Any:
    from datasets import load_dataset  # type: ignore[import-untyped]

    rows = load_dataset(name, config, split=_SPLIT, revision=revision, streaming=True)
    columns = rows.column_names
    if columns is None:  # JSON tells its columns only as it is read
        return rows
    if missing := [column for column in ("title", "text") if column not in columns]:
        raise SourceError(
            f"the dataset {name} has no column {' and no '.join(missing)}, only "
            f"{', '.join(columns)}; name a dataset with 'title' and 'text'"
        )
    return rows.select_columns([column for column in _COLUMNS if column in columns])


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


FORMAT = Format(
    "huggingface",
    "a dataset with 'title' and 'text', from the Hugging Face Hub or a local folder",
    "wikimedia/wikipedia:20231101.simple",
    _open,
)
