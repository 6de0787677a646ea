"""API keys: who may ask, and how often. Off unless `RAG_RT_SERVICE_API_KEYS…` names keys.

`create_app` adds the middleware inside of those that log and add headers, so that a refusal has
both and costs nothing else:

    keys = load_keys()
    if keys is not None:
        app.add_middleware(ApiKeys, keys=keys)
        describe_keys(app)
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_rt.errors import SettingsError
from service.errors import ServiceError, reply_to
from service.openai_errors import in_openai_shape

OPEN = ("/", "/livez", "/readyz", "/docs", "/redoc", "/openapi.json")
OPEN_FOLDER = "/static/"
SHORTEST, LONGEST = 16, 256  # characters; 16 random ones of base64 are 96 bits
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "`Authorization: Bearer KEY`, where the service asks for keys.",
}


class KeySettings(BaseSettings):
    """Each field is the environment variable `RAG_RT_SERVICE_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RAG_RT_SERVICE_", frozen=True)

    api_keys: SecretStr = Field(
        default=SecretStr(""), description="keys that may ask, with commas between; none: anybody"
    )
    api_keys_file: Path | None = Field(
        default=None, description="a file of more keys, one a line; '#' begins a comment"
    )
    rate_per_minute: float = Field(
        default=0, ge=0, le=1e6, description="requests a minute for each key; 0: no limit"
    )
    burst: int = Field(
        default=10, ge=1, le=100_000, description="requests that a key may make at once"
    )


class KeyMissing(ServiceError):
    """No key was given."""

    status, code = 401, "api_key_missing"

    def __init__(self) -> None:
        super().__init__("this service asks for a key: send 'Authorization: Bearer KEY'")


class KeyInvalid(ServiceError):
    """The key that was given is none."""

    status, code = 401, "api_key_invalid"

    def __init__(self) -> None:
        super().__init__("this API key is not valid")


class RateLimited(ServiceError):
    """A key was used too often."""

    status, code = 429, "rate_limited"

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "too many requests with this key; ask again after Retry-After", retry_after
        )


class Bucket:
    """Holds `size` tokens at most and gets `rate` a second; a request takes one."""

    def __init__(self, rate: float, size: float) -> None:
        self._rate, self._size, self._tokens, self._seen = rate, size, size, -1.0

    def take(self, now: float) -> float:
        """Take a token at the time `now`; returns 0, or the seconds until there is one."""
        if self._seen >= 0:
            self._tokens = min(self._size, self._tokens + self._rate * (now - self._seen))
        self._seen = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0


class Keys:
    """Keys, of which only digests are kept, and what each may still ask."""

    def __init__(
        self,
        keys: Iterable[str],
        *,
        rate_per_minute: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Admit `keys`.

        Args:
            keys: at least one.
            rate_per_minute: requests of each; 0 for as many as it likes.
            burst: requests that may come at once.
            clock: seconds.
        """
        self._digests = [_digest(key) for key in dict.fromkeys(keys)]
        self._buckets = [Bucket(rate_per_minute / 60, burst) for _ in self._digests]
        self._limited = rate_per_minute > 0
        self._clock = clock

    def admit(self, authorization: str | None) -> None:
        """Let a request with this header `Authorization` pass.

        Raises:
            KeyMissing, KeyInvalid, RateLimited: it may not.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise KeyMissing
        digest = _digest(key.strip())
        # All are compared, so that the time tells nothing about which one fits.
        fits = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(fits):
            raise KeyInvalid
        if self._limited and (wait := self._buckets[fits.index(True)].take(self._clock())):
            raise RateLimited(wait)


def load_keys() -> Keys | None:
    """The keys that this process was given, None where there are none.

    Raises:
        SettingsError: they cannot be read, there is none in what should hold some, or one is too
            short; the message names the variable, and no key.
    """
    try:
        settings = KeySettings()
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        name = f"RAG_RT_SERVICE_{str(problem['loc'][0]).upper()}"
        raise SettingsError(f"{name}: {problem['msg']}; correct or unset it") from None
    keys = _named(settings) + _filed(settings)
    if not keys:
        return None
    return Keys(keys, rate_per_minute=settings.rate_per_minute, burst=settings.burst)


def _named(settings: KeySettings) -> list[str]:
    text = settings.api_keys.get_secret_value()
    return _checked("RAG_RT_SERVICE_API_KEYS", text.split(",")) if text.strip() else []


def _filed(settings: KeySettings) -> list[str]:
    path = settings.api_keys_file
    if path is None:
        return []
    name = f"RAG_RT_SERVICE_API_KEYS_FILE ({path})"
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name} cannot be read: {error}; correct or unset it") from error
    return _checked(name, (line.partition("#")[0] for line in lines))


def _checked(name: str, texts: Iterable[str]) -> list[str]:
    keys = [key for text in texts if (key := text.strip())]
    if not keys:
        raise SettingsError(f"{name} holds no key; add one, or unset it and let anybody ask")
    for number, key in enumerate(keys, start=1):
        visible = key.isascii() and key.isprintable() and " " not in key
        if not (visible and SHORTEST <= len(key) <= LONGEST):
            raise SettingsError(
                f"{name}: key {number} must have {SHORTEST} to {LONGEST} visible ASCII "
                f"characters and has {len(key)}; make one with 'openssl rand -base64 32'"
            )
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class ApiKeys:
    """Turns away requests without a valid key, except for `OPEN` and what `OPEN_FOLDER` holds."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            try:
                self._keys.admit(Headers(scope=scope).get("authorization"))
            except ServiceError as error:
                reply = reply_to(error)
                if error.status == 401:
                    reply.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 11.6.1
                if scope["path"].startswith("/v1/"):
                    reply = in_openai_shape(reply)
                await reply(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether anybody may ask for this path."""
    return path in OPEN or path.startswith(OPEN_FOLDER)


def describe_keys(app: FastAPI) -> None:
    """Say in the OpenAPI document that keys are asked for."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["bearer"] = _BEARER
        for path, item in document["paths"].items():
            if not is_open(path):
                for operation in item.values():
                    operation["security"] = [{"bearer": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's manual does it
