import asyncio
from pathlib import Path

import httpx
import openai
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from rag_rt.errors import SettingsError
from service.errors import ServiceError, handle_errors
from service.keys import ApiKeys, Bucket, Keys, describe_keys, load_keys
from tests.service.tiny_service import serving

KEY, OTHER = "kitchen-sink-0123456789", "another-key-0123456789"
keys_of_any_kind = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def app_with(keys: Keys) -> FastAPI:
    app = FastAPI()

    @app.get("/livez")
    @app.get("/v1/models")
    @app.get("/anything")
    async def reply() -> dict[str, list[str]]:
        return {"data": []}

    handle_errors(app)
    app.add_middleware(ApiKeys, keys=keys)
    describe_keys(app)
    return app


def ask(app: FastAPI, path: str, authorization: str | None = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        headers = [(b"Authorization", (authorization or "").encode("latin-1"))]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path, headers=headers[authorization is None :])

    return asyncio.run(asked())


def unlimited(*keys: str) -> Keys:
    return Keys(keys, rate_per_minute=0, burst=1)


@given(st.lists(keys_of_any_kind, min_size=1, max_size=5), keys_of_any_kind)
def test_only_the_keys_themselves_pass(keys: list[str], other: str) -> None:
    admitting = unlimited(*keys)
    for key in keys:
        admitting.admit(f"Bearer {key}")
        admitting.admit(f"bearer  {key} ")
    if other not in keys:
        with pytest.raises(ServiceError) as refusal:
            admitting.admit(f"Bearer {other}")
        assert refusal.value.code == "api_key_invalid"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "api_key_missing"),
        ("", "api_key_missing"),
        ("Bearer", "api_key_missing"),
        (f"Basic {KEY}", "api_key_missing"),
        (KEY, "api_key_missing"),
        (f"Bearer {KEY[:-1]}", "api_key_invalid"),
        (f"Bearer {KEY}x", "api_key_invalid"),
        ("Bearer \xff\xfe", "api_key_invalid"),
    ],
)
def test_without_a_valid_key_nothing_is_served(authorization: str | None, code: str) -> None:
    for path in ("/anything", "/nothing"):
        reply = ask(app_with(unlimited(KEY)), path, authorization)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["error"]["code"] == code
    assert ask(app_with(unlimited(KEY)), "/anything", f"Bearer {KEY}").status_code == 200


def test_health_needs_no_key_and_nothing_else_looks_like_it() -> None:
    app = app_with(unlimited(KEY))
    assert ask(app, "/livez").status_code == 200
    assert ask(app, "/livez/").status_code == 401
    assert ask(app, "/livez/x").status_code == 401
    assert ask(app, "/static/../anything").status_code != 200


def test_openais_client_gives_its_key_and_is_told_of_a_wrong_one() -> None:
    with serving(app_with(unlimited(KEY))) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            assert list(client.models.list()) == []
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key=OTHER, max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as refusal,
        ):
            client.models.list()
    assert (refusal.value.code, refusal.value.type) == ("api_key_invalid", "authentication_error")


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=200),
    st.floats(0.01, 10),
    st.integers(1, 20),
)
def test_no_span_of_time_gives_more_than_its_rate_and_a_burst(
    times: list[float], rate: float, size: int
) -> None:
    bucket = Bucket(rate, size)
    passed = [now for now in sorted(times) if bucket.take(now) == 0]
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            allowed = size + rate * (passed[last] - passed[first])
            assert last - first + 1 <= allowed + 1e-6


@given(st.floats(0.01, 10), st.integers(1, 20))
def test_a_bucket_says_when_there_is_a_token_again(rate: float, size: int) -> None:
    bucket = Bucket(rate, size)
    assert [bucket.take(1) for _ in range(size)] == [0] * size
    wait = bucket.take(1)
    assert 0 < wait <= 1 / rate + 1e-9
    assert bucket.take(1 + wait + 1e-6) == 0


def test_each_key_has_a_rate_of_its_own() -> None:
    clock = Clock()
    app = app_with(Keys([KEY, OTHER], rate_per_minute=6, burst=2, clock=clock))
    statuses = [ask(app, "/anything", f"Bearer {KEY}").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    refusal = ask(app, "/anything", f"Bearer {KEY}")
    assert refusal.json()["error"]["code"] == "rate_limited"
    assert refusal.headers["retry-after"] == "10"
    assert ask(app, "/anything", f"Bearer {OTHER}").status_code == 200
    clock.now += 10
    assert ask(app, "/anything", f"Bearer {KEY}").status_code == 200


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("API_KEYS", "API_KEYS_FILE", "RATE_PER_MINUTE", "BURST"):
        monkeypatch.delenv(f"RAG_RT_SERVICE_{name}", raising=False)
    return monkeypatch


def test_keys_come_from_the_environment_and_a_file(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_keys() is None
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{OTHER}  # of the kitchen\n")
    environment.setenv("RAG_RT_SERVICE_API_KEYS", f"{KEY}, third-key-0123456789")
    environment.setenv("RAG_RT_SERVICE_API_KEYS_FILE", str(file))
    keys = load_keys()
    assert keys is not None
    for key in (KEY, OTHER, "third-key-0123456789"):
        keys.admit(f"Bearer {key}")


@pytest.mark.parametrize("text", [",", "short", KEY + " x", "ключ-ключ-ключ-ключ", "x" * 300])
def test_keys_that_would_not_protect_are_refused_and_not_shown(
    environment: pytest.MonkeyPatch, text: str
) -> None:
    environment.setenv("RAG_RT_SERVICE_API_KEYS", text)
    with pytest.raises(SettingsError, match="RAG_RT_SERVICE_API_KEYS") as refusal:
        load_keys()
    assert text == "," or text not in str(refusal.value)


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe"])
def test_a_file_without_keys_lets_nobody_in_by_mistake(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    environment.setenv("RAG_RT_SERVICE_API_KEYS_FILE", str(file))
    with pytest.raises(SettingsError, match="RAG_RT_SERVICE_API_KEYS_FILE"):
        load_keys()


def test_a_rate_that_is_none_is_refused_by_name(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RAG_RT_SERVICE_RATE_PER_MINUTE", "many")
    with pytest.raises(SettingsError, match="RAG_RT_SERVICE_RATE_PER_MINUTE"):
        load_keys()


def test_the_document_says_where_keys_are_asked_for() -> None:
    paths = app_with(unlimited(KEY)).openapi()["paths"]
    assert paths["/anything"]["get"]["security"] == [{"bearer": []}]
    assert "security" not in paths["/livez"]["get"]
