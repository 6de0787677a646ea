"""What holds for every request and reply."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 * 1024  # bytes; the longest question takes a third of it with every character escaped
HEADERS = {
    b"cache-control": b"no-cache",  # an upgrade must not pair a new page with an old script
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
_API_PAGES = ("/docs", "/redoc")  # FastAPI's own, which fetch their scripts from elsewhere


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
    """Adds `HEADERS` to every reply but the API's own pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS.items()]
            await send(message)

        is_page = scope["type"] == "http" and not scope["path"].startswith(_API_PAGES)
        await self._app(scope, receive, send_with_headers if is_page else send)
