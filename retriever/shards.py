"""Shards of an index: what each is of, and whether all are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from retriever.artefacts import Manifest, read_manifest
from retriever.errors import ArtefactMismatch, ArtefactMissing
from retriever.index_files import KIND, VERSION

SHARD = "shard-{:03d}"
PATTERN = "shard-[0-9][0-9][0-9]"
REMEDY = "'rag-rt index split'"
_OWN = ("shard", "generation", "kind_chosen", "nearest", "folded")  # settings of one shard alone


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What a shard is of, as its manifest says."""

    number: int
    of: int
    first_row: int
    """Its row 0 is this row of all shards together."""
    passages: int
    pages: int
    version: str
    """Of the shard itself."""
    whole: str
    """The version of the index that was cut."""
    settings: dict[str, Any]
    """Of the index that was cut, as far as they say what can be found."""

    @classmethod
    def of_manifest(cls, manifest: Manifest, directory: Path) -> Self:
        """Those of the index at `directory`.

        Raises:
            ArtefactMismatch: it is an index, but no shard.
        """
        shard = manifest.settings.get("shard")
        if shard is None:
            raise ArtefactMismatch(
                f"{directory} holds a whole index and no shard; cut it with {REMEDY}"
            )
        return cls(
            **shard,
            passages=manifest.counts["passages"],
            pages=manifest.counts["pages"],
            version=manifest.digest()[:16],
            settings={key: value for key, value in manifest.settings.items() if key not in _OWN},
        )


def read_shards(directory: Path) -> list[tuple[Path, ShardFacts]]:
    """The shards of one index, in order, as `split_index` left them.

    Raises:
        ArtefactError: one is missing or unfinished, or they are of different indexes.
    """
    found = []
    for path in sorted(directory.glob(PATTERN)):
        manifest = read_manifest(path, kind=KIND, version=VERSION, remedy=REMEDY)
        found.append((path, ShardFacts.of_manifest(manifest, path)))
    require_complete([facts for _, facts in found], str(directory))
    return found


def require_complete(facts: Sequence[ShardFacts], place: str) -> None:
    """Refuse shards that are not all those of one index, in order.

    Raises:
        ArtefactMissing: one is not there.
        ArtefactMismatch: they are of different indexes.
    """
    if len({(shard.whole, shard.of) for shard in facts}) > 1:
        raise ArtefactMismatch(
            f"{place} holds shards of different indexes; keep those of one, or cut it anew with "
            f"{REMEDY}"
        )
    missing = set(range(facts[0].of if facts else 1)) - {shard.number for shard in facts}
    if missing:
        raise ArtefactMissing(f"shard {min(missing)} is missing in {place}; make it with {REMEDY}")
