"""Starting the server: take the port, load everything, then listen."""

import logging
import socket

import uvicorn

from rag_rt.answerer import Answerer
from rag_rt.errors import ServingError
from rag_rt.settings import Settings
from rag_rt.terminal import say, waiting
from service.app import create_app

GRACE = 5  # seconds that running answers have to end in when the server is stopped


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until stopped by SIGINT or SIGTERM.

    Raises:
        ServingError: the address cannot be listened on.
        RetrieverError, RagRtError: something that answering takes is missing or damaged.
    """
    with _bound(host, port) as listener:
        with waiting("Loading the models"):
            answerer = Answerer.from_settings(settings)
        passages = len(answerer.retriever.index.passages)
        say(f"Answering from {passages:,} passages with {answerer.generator.name}")
        say(f"Serving on http://{host}:{listener.getsockname()[1]} (Ctrl-C stops)")
        config = uvicorn.Config(
            create_app(answerer),
            log_level=logging.WARNING,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds the address but does not listen yet: who connects early is refused."""
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ServingError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or --host"
        ) from error
    return listener
