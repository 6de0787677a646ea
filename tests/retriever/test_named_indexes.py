import socket
from importlib import util
from pathlib import Path

import pytest

from retriever.errors import RetrieverError
from retriever.index import Index
from retriever.named_indexes import open_index
from tests.retriever.test_updating import build, page


def test_local_is_the_directory(tmp_path: Path) -> None:
    directory = build(tmp_path / "index", [page("a", "Salt.")])
    assert isinstance(open_index("local", directory), Index)


def test_a_name_that_is_none_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(RetrieverError, match=r"'http://a'.*ray://HOST:PORT.*RAG_RT_RETRIEVER"):
        open_index("http://a", tmp_path)


def test_without_ray_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retriever.cluster_extra.find_spec", lambda name: None)
    with pytest.raises(RetrieverError, match=r"pip install 'rag-rt\[cluster\]'"):
        open_index("ray://localhost:6379", tmp_path)


@pytest.mark.filterwarnings("ignore")  # of Ray, when it is imported
@pytest.mark.skipif(util.find_spec("ray") is None, reason="the extra cluster is not installed")
def test_a_cluster_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RetrieverError, match=rf"no Ray cluster answers at {address}"):
        open_index(f"ray://{address}", tmp_path)
    with pytest.raises(RetrieverError, match="expected HOST:PORT"):
        open_index("ray://nowhere", tmp_path)
