"""Logs as JSON, a line each, with the id of the request they belong to."""

import atexit
import json
import logging
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request at hand; empty outside of one."""

_MOST_UNWRITTEN = 10_000  # records
_LAST_S = 1.0  # seconds that the last records of a process get to be written
_unwritten: "Queue[logging.LogRecord]" = Queue(_MOST_UNWRITTEN)
_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """Time, level, logger, message, request, whatever `extra` gave, and the trace of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identifier := request_id.get():
            line["request_id"] = identifier
        line |= {name: value for name, value in vars(record).items() if name not in _ATTRIBUTES}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _NeverWaiting(QueueHandler):
    """Leaves records to another thread, and drops those for which there is no room."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand over a record, or drop it."""
        with suppress(Full):
            self.queue.put_nowait(record)


def log_as_json(level: str) -> None:
    """Send the records of this process, from `level` up, to standard error.

    Who reads standard error may read slowly, or not at all: then records are lost, and nothing
    waits.
    """
    handler = _NeverWaiting(_unwritten)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    QueueListener(_unwritten, logging.StreamHandler(sys.stderr)).start()
    atexit.register(write_last)


def write_last() -> None:
    """Wait until all records so far are written, a second at most."""
    ends = time.monotonic() + _LAST_S
    while not _unwritten.empty() and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(0.01)  # the last one is out of the queue before it is written
