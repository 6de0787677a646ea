"""Starting and stopping the server: it listens at once and loads behind that."""

import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import uvicorn

from rag_rt.errors import ServingError
from rag_rt.settings import Settings
from service.app import create_app
from service.connections import Connection
from service.keys import load_keys
from service.logs import log_as_json, write_last
from service.pool import WorkerPool
from service.scheduling import Scheduler
from service.settings import ServiceSettings, load_service_settings
from service.supervising import COMMAND

_LAST_WORDS = 2  # seconds in which the ends of answers are sent after the grace time


class Server(uvicorn.Server):
    """uvicorn's server, which goes on listening while the last answers end."""

    def __init__(
        self, config: uvicorn.Config, scheduler: Scheduler, workers: WorkerPool, grace_s: float
    ) -> None:
        super().__init__(config)
        self._scheduler = scheduler
        self._workers = workers
        self._grace_s = grace_s

    @property
    def cannot_begin(self) -> bool:
        """Whether what answering takes could not be loaded: nothing that a second try mends."""
        return self._workers.failure is not None

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end; asked ten times a second."""
        return await super().on_tick(counter) or self.cannot_begin

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new questions, let answers end, then stop as uvicorn does.

        A second Ctrl-C ends the wait.
        """
        draining = asyncio.create_task(self._scheduler.drain(self._grace_s))
        while not draining.done() and not self.force_exit:
            await asyncio.wait({draining}, timeout=0.05)
        draining.cancel()
        await super().shutdown(sockets)


def run(settings: Settings, host: str, port: int, command: Sequence[str] = COMMAND) -> None:
    """Serve until stopped by SIGINT or SIGTERM.

    Args:
        settings: what the workers load.
        host: where to listen.
        port: 0 takes a free one.
        command: starts a worker.

    Raises:
        SettingsError: a variable does not hold what it must.
        ServingError: the address cannot be listened on, or what answering takes cannot be loaded
            at the start.
    """
    service, keys = load_service_settings(), load_keys()
    log_as_json(service.log_level)
    with _bound(host, port, service) as listener:
        workers = WorkerPool(settings, service, command)
        app = create_app(workers, service, keys)
        config = uvicorn.Config(
            app,
            http=partial(Connection, service),  # type: ignore[arg-type]  # a class, given less
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_WORDS,
        )
        server = Server(config, app.state.scheduler, workers, service.grace_s)
        address = f"http://{host}:{listener.getsockname()[1]}"
        with suppress(OSError):  # where the log is on a disk that is full, answers still are given
            print(f"Serving on {address} (Ctrl-C stops)", file=sys.stderr, flush=True)
        server.run(sockets=[listener])
    if server.cannot_begin:
        write_last()  # the reason is to be the last line
        raise ServingError(workers.failure)


def _bound(host: str, port: int, settings: ServiceSettings) -> socket.socket:
    """A socket that holds the address but does not listen yet."""
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _end_unread_connections(listener, settings.patience_s)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or --host"
        ) from error
    return listener


def _end_unread_connections(listener: socket.socket, seconds: float) -> None:
    """Have the kernel end connections whose client reads nothing for so long, or has vanished.

    Connections inherit this from their listener (man 7 tcp).
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # not on macOS
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            listener.setsockopt(socket.IPPROTO_TCP, option, max(1, int(seconds / 3)))
