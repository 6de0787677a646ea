"""Starting the server: load everything, then listen."""

import logging

import uvicorn

from rag_rt.answerer import Answerer
from rag_rt.settings import Settings
from rag_rt.terminal import say, waiting
from service.app import create_app


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until stopped by SIGINT or SIGTERM.

    Raises:
        RetrieverError, RagRtError: something that answering takes is missing or damaged.
    """
    with waiting("Loading the models"):
        answerer = Answerer.from_settings(settings)
    passages = len(answerer.retriever.index.passages)
    say(f"Answering from {passages:,} passages with {answerer.generator.name}")
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(answerer),
            host=host,
            port=port,
            log_level=logging.WARNING,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    say(f"Serving on http://{host}:{port} (Ctrl-C stops)")
    server.run()
