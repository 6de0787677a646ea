"""What holds for every request and reply."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers as HeadersOf
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import request_id
from service.metrics import Metrics

MAX_BODY = 64 * 1024  # bytes; the longest question takes a third of it with every character escaped
HEADERS = {
    b"cache-control": b"no-cache",  # an upgrade must not pair a new page with an old script
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
_QUIET = {"/livez", "/readyz", "/metrics"}  # asked every few seconds by machines
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

logger = logging.getLogger(__name__)


class BodyLimit:
    """Refuses a body of more than `MAX_BODY` bytes with 413, without reading the rest of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_some, send)


class Headers:
    """Adds those of `HEADERS` that a reply lacks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message.get("headers", [])}
                added = [item for item in HEADERS.items() if item[0] not in given]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class Observed:
    """Gives every request an id, a line in the log, a count, and a reply if all else failed."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, failed: Callable[[Exception], Response]
    ) -> None:
        """Watch an application.

        Args:
            app: the application.
            metrics: count its replies.
            failed: the reply to an exception that nobody handled; logs it.
        """
        self._app = app
        self._metrics = metrics
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = HeadersOf(scope=scope).get("x-request-id", "")
        identifier = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        request_id.set(identifier)
        begun, status = time.perf_counter(), 499  # nobody was told anything: the client had gone

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", identifier.encode())
                message["headers"] = [*message.get("headers", []), header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            reply = self._failed(error)
            if status == 499:
                await reply(scope, receive, send_with_id)
        finally:
            self._note(scope, status, time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.replies.labels(route, status).inc()
        level = logging.DEBUG if route in _QUIET else logging.INFO
        facts = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
        }
        logger.log(level, "replied", extra=facts)
