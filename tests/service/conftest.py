from collections.abc import Iterator

import pytest

from tests.service.tiny_service import HOSTILE_PAGES, PAGES, tiny_service


@pytest.fixture(scope="session")
def tiny_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The whole service over a few pages, hostile ones among them, and tiny models."""
    with tiny_service(tmp_path_factory.mktemp("tiny_service"), PAGES | HOSTILE_PAGES) as url:
        yield url
