"""Every failure as one shape of reply, with a stable code and no internals.

ServiceError
├── Overloaded         429  as many answers wait as may
├── Loading            503  the models are being loaded
├── ShuttingDown       503  the service ends
├── WorkerLost         503  the process that writes answers ended
├── OutOfMemory        503  there was not enough memory for this answer
├── DeadlineExceeded   504  the answer took longer than it was given
├── PromptUnreadable   422  question and passages do not fit the generator's context
├── AnswerGone         410  a stream to go on with is no longer kept
└── Failed             500  anything else; the log says what
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag_rt.errors import InvalidRequest
from service.logs import request_id
from service.middleware import MAX_BODY
from service.schemas import Detail, Error, ErrorReply

_HTTP_ERRORS = {
    400: ("invalid_request", "the body cannot be read as JSON"),
    404: ("not_found", "there is nothing at this address; the API is described at /docs"),
    405: ("method_not_allowed", "this address does not take this method; see /docs"),
    413: ("too_large", f"the body is larger than {MAX_BODY // 1024} KiB"),
}

logger = logging.getLogger(__name__)


class ServiceError(Exception):
    """Base of what a client is told; `retry_after` is in seconds, None where it would not help."""

    status = 500
    code = "internal"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = None if retry_after is None else max(1, math.ceil(retry_after))


class Overloaded(ServiceError):
    """As many answers wait as may."""

    status, code = 429, "overloaded"

    def __init__(self, retry_after: float) -> None:
        super().__init__("too many questions wait; ask again after Retry-After", retry_after)


class Loading(ServiceError):
    """The models are being loaded."""

    status, code = 503, "loading"

    def __init__(self, what: str, retry_after: float = 5) -> None:
        super().__init__(f"the service is loading: {what}", retry_after)


class ShuttingDown(ServiceError):
    """The service ends."""

    status, code = 503, "shutting_down"

    def __init__(self, retry_after: float = 5) -> None:
        super().__init__("the service is shutting down; ask again, another may answer", retry_after)


class WorkerLost(ServiceError):
    """The process that writes answers ended, and is started again."""

    status, code = 503, "worker_lost"

    def __init__(self, retry_after: float = 5) -> None:
        super().__init__("the answer was lost; the service is starting again", retry_after)


class OutOfMemory(ServiceError):
    """There was not enough memory for this answer."""

    status, code = 503, "out_of_memory"

    def __init__(self, retry_after: float = 5) -> None:
        super().__init__("there was not enough memory for this answer; ask again", retry_after)


class DeadlineExceeded(ServiceError):
    """The answer took longer than it was given."""

    status, code = 504, "deadline_exceeded"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the answer was not finished within {seconds:g} seconds")


class PromptUnreadable(ServiceError):
    """Question and passages do not fit the generator's context."""

    status, code = 422, "prompt_too_long"


class AnswerGone(ServiceError):
    """A stream to go on with is no longer kept."""

    status, code = 410, "gone"

    def __init__(self) -> None:
        super().__init__("this answer is no longer kept; ask again without Last-Event-ID")


class Failed(ServiceError):
    """Anything else; the log says what."""

    def __init__(self) -> None:
        super().__init__("the service failed on this question; its log says why")


OF_WORKER: Mapping[str, type[ServiceError]] = {
    kind.code: kind for kind in (OutOfMemory, PromptUnreadable, Failed)
}
"""Failures that the worker tells of, by code."""


def handle_errors(app: FastAPI) -> None:
    """Make the application reply to every exception with an `ErrorReply`."""

    @app.exception_handler(InvalidRequest)
    async def invalid(request: Request, error: InvalidRequest) -> JSONResponse:
        return _invalid([Detail(field=error.field, message=str(error))])

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid([_detail(problem) for problem in error.errors()])

    @app.exception_handler(ServiceError)
    async def refused(request: Request, error: ServiceError) -> JSONResponse:
        return reply_to(error)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return reply_to(told_to_clients(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code, message = _HTTP_ERRORS.get(error.status_code, ("http_error", error.detail))
        headers = dict(error.headers or {})
        return JSONResponse(error_reply(code, message).model_dump(), error.status_code, headers)


def reply_to(error: ServiceError) -> JSONResponse:
    """The reply that tells of a failure."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    body = error_reply(error.code, str(error)).model_dump()
    return JSONResponse(body, error.status, headers)


def told_to_clients(error: Exception) -> ServiceError:
    """What a client may know of a failure; the log gets the rest."""
    if isinstance(error, ServiceError):
        return error
    logger.error("the service failed", exc_info=error)
    return Failed()


def error_reply(code: str, message: str, details: list[Detail] | None = None) -> ErrorReply:
    """The one shape of an error, with the id of the request at hand."""
    error = Error(code=code, message=message, details=details or [], request_id=request_id.get())
    return ErrorReply(error=error)


def _detail(problem: Mapping[str, Any]) -> Detail:
    if problem["type"] == "json_invalid":
        return Detail(field="body", message="it is not valid JSON")
    # The location of a field begins with "body"; that of the whole body is "body" alone.
    return Detail(field=".".join(map(str, problem["loc"][1:])) or "body", message=problem["msg"])


def _invalid(details: list[Detail]) -> JSONResponse:
    message = "; ".join(f"{detail.field}: {detail.message}" for detail in details)
    return JSONResponse(error_reply("invalid_request", message, details).model_dump(), 422)
