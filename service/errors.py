"""Every failure as one shape of reply, with a stable code and no internals."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rag_rt.errors import InvalidRequest, PromptTooLong
from service.answering import MAX_WAITING, RETRY_AFTER, Busy
from service.middleware import MAX_BODY
from service.schemas import Detail, Error, ErrorReply

_HTTP_ERRORS = {
    404: ("not_found", "there is nothing at this address; the API is described at /docs"),
    405: ("method_not_allowed", "this address does not take this method; see /docs"),
    413: ("too_large", f"the body is larger than {MAX_BODY // 1024} KiB"),
}

logger = logging.getLogger(__name__)


def handle_errors(app: FastAPI) -> None:
    """Make the application reply to every exception with an `ErrorReply`."""

    @app.exception_handler(InvalidRequest)
    async def invalid(request: Request, error: InvalidRequest) -> JSONResponse:
        return _invalid([Detail(field=error.field, message=str(error))])

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid([_detail(problem) for problem in error.errors()])

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        message = f"{MAX_WAITING} questions wait already; ask again in {RETRY_AFTER} seconds"
        return _reply(503, "busy", message, headers={"Retry-After": str(RETRY_AFTER)})

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code, message = _HTTP_ERRORS.get(error.status_code, ("http_error", error.detail))
        return _reply(error.status_code, code, message)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(logged_error(error).model_dump(), 500)


def logged_error(error: Exception) -> ErrorReply:
    """What a client may know of a failure; the log gets the rest."""
    if isinstance(error, PromptTooLong):
        return _error("prompt_too_long", str(error))
    logger.error("the service failed", exc_info=error)
    return _error("internal", "the service failed on this question; its log says why")


def _detail(problem: Mapping[str, Any]) -> Detail:
    if problem["type"] == "json_invalid":
        return Detail(field="body", message="it is not valid JSON")
    # The location of a field begins with "body"; that of the whole body is "body" alone.
    return Detail(field=".".join(map(str, problem["loc"][1:])) or "body", message=problem["msg"])


def _invalid(details: list[Detail]) -> JSONResponse:
    message = "; ".join(f"{detail.field}: {detail.message}" for detail in details)
    return _reply(422, "invalid_request", message, details)


def _reply(
    status: int,
    code: str,
    message: str,
    details: list[Detail] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse(_error(code, message, details).model_dump(), status, headers)


def _error(code: str, message: str, details: list[Detail] | None = None) -> ErrorReply:
    return ErrorReply(error=Error(code=code, message=message, details=details or []))
