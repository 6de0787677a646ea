from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rag_rt.routing_transformer.recorded import IN_TREE, Recorded


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Callable[[str], Recorded]:
    """A fixture by name; those that are not in the tree lie beside the checkout."""

    def find(name: str) -> Recorded:
        folder = IN_TREE / name
        if not folder.is_dir():
            shared: Path = request.getfixturevalue("shared")
            folder = shared / "golden" / "routing_transformer" / name
        return Recorded(folder)

    return find
