"""Server-sent events: a reply that ends with its client, and comments while there is nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT = b":\n\n"


def server_sent(data: str, *, name: str | None = None, identifier: str | None = None) -> bytes:
    """One event (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Args:
        data: of one line, as JSON is.
        name: of the event.
        identifier: what a client gives as Last-Event-ID to go on after it.
    """
    lines = [f"id: {identifier}"] if identifier else []
    if name:
        lines.append(f"event: {name}")
    return "\n".join([*lines, f"data: {data}", "\n"]).encode()


class EventStream(Response):
    """A stream of events, each as `server_sent` makes it; closed as soon as its client leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], *, heartbeat_s: float) -> None:
        """Reply with events.

        Args:
            events: closed when the reply ends, however it ends.
            heartbeat_s: seconds of silence before a comment tells that the stream is alive.
        """
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        async with aclosing(self._events):
            sending = asyncio.create_task(self._send(send))
            leaving = asyncio.create_task(_left(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            finally:
                await _cancelled(sending, leaving)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._with_heartbeats()) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _with_heartbeats(self) -> AsyncGenerator[bytes]:
        while True:
            following = asyncio.ensure_future(anext(self._events, None))
            try:
                while not (await asyncio.wait({following}, timeout=self._heartbeat_s))[0]:
                    yield HEARTBEAT
            except BaseException:
                await _cancelled(following)
                raise
            event = following.result()
            if event is None:
                return
            yield event


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(*tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
