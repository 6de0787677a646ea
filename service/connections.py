"""Connections that end when a request does not arrive in time, and no more of them than may be.

Those whose client does not read its reply, or has vanished, the kernel ends (service.serving).
"""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.settings import ServiceSettings

_BODY = json.dumps(
    {
        "error": {
            "code": "too_many_connections",
            "message": "too many connections are open; try again",
            "details": [],
            "request_id": "",
        }
    }
)
_FULL = (
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()


class Connection(H11Protocol):
    """uvicorn's connection, with some patience for a request to arrive."""

    def __init__(self, settings: ServiceSettings, **given: Any) -> None:
        super().__init__(**given)
        self._most = settings.connections
        self._patience_s = settings.patience_s
        self._arriving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.write(_FULL)
            transport.close()
        else:
            self._arriving = self._abort_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):  # some of a request, not all
            self._arriving = self._arriving or self._abort_later()
        else:
            self._arrived()

    def _arrived(self) -> None:
        if self._arriving:
            self._arriving.cancel()
        self._arriving = None

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._patience_s, self.transport.abort)
