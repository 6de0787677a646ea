"""What an index is on the disk, and whether it has changed; without what searching takes."""

from pathlib import Path

from retriever.artefacts import MANIFEST

KIND = "index"
UPDATE_KIND = "index update"
VERSION = 3
UPDATES = "updates"
REMEDY = "'rag-rt setup' (the starter index) or 'rag-rt index build' (your own)"

IndexState = tuple[int, ...]


def index_state(directory: Path) -> IndexState:
    """Differs whenever the index does; costs two looks at the file system."""
    try:
        status = (directory / MANIFEST).stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size, *update_numbers(directory)


def update_numbers(directory: Path) -> list[int]:
    """The updates that lie in an index, also those that later ones took the place of."""
    try:
        names = [path.name for path in (directory / UPDATES).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdecimal())


def update_directory(directory: Path, number: int) -> Path:
    """Where an update lies."""
    return directory / UPDATES / f"{number:06d}"
