"""Failures at `/v1` in OpenAI's shape, said with the words and codes of the service's own."""

import json
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.errors import reply_to, told_to_clients
from service.openai_schemas import ChatRequest, OpenAIError, OpenAIErrorReply, Unsupported

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_NAMES = {"question": "messages"}  # fields of the pipeline's request that are named otherwise here

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


class ChatRefused(Exception):
    """A request that OpenAI's API would refuse and the pipeline would not."""

    def __init__(self, status: int, code: str, param: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = OpenAIError(
            message=message, type="invalid_request_error", param=param, code=code
        )


class OpenAIRoute(APIRoute):
    """A route whose failures, and those of what it depends on, are told in OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # the application's own handlers say what it is
                return await failure(request, error)

        return handled


async def failure(http: Request, error: Exception) -> JSONResponse:
    """What the application replies to a failure, in OpenAI's shape.

    The application's exception handlers are asked, which reply with an `ErrorReply`
    (`service.schemas`): its code, message and first field are kept, and the headers.
    """
    if isinstance(error, ChatRefused):
        return JSONResponse(OpenAIErrorReply(error=error.error).model_dump(), error.status)
    return in_openai_shape(await _said(http, error))


def in_openai_shape(reply: Response) -> JSONResponse:
    """A reply whose body is an `ErrorReply`, in OpenAI's shape; 422 becomes 400."""
    status = 400 if reply.status_code == 422 else reply.status_code
    error = json.loads(bytes(reply.body))["error"]
    body = OpenAIErrorReply(error=_translated(status, error))
    headers = {
        name: value
        for name, value in reply.headers.items()
        if name not in ("content-length", "content-type")
    }
    return JSONResponse(body.model_dump(), status, headers)


async def _said(http: Request, error: Exception) -> Response:
    """What the application's handler for the status, else for the nearest class, replies."""
    handlers: dict[int | type[BaseException], Handler] = http.app.exception_handlers
    status = [error.status_code] if isinstance(error, HTTPException) else []
    for key in (*status, *type(error).__mro__):
        if key in handlers:
            reply = handlers[key](http, error)
            return await reply if isawaitable(reply) else reply
    return reply_to(told_to_clients(error))


def _translated(status: int, error: dict[str, Any]) -> OpenAIError:
    code, message = error["code"], error["message"]
    param: str | None = None
    if error.get("details"):
        detail = error["details"][0]
        steps = detail["field"].split(".")
        param = ".".join([_NAMES.get(steps[0], steps[0]), *steps[1:3]])
        if steps[0] in _NAMES:
            message = detail["message"]
        elif steps[0] in Unsupported.model_fields:
            code = "unsupported_parameter"
            message = f"{param}: this service does not support it; leave it out"
        elif param not in ("body", "messages") and steps[0] not in ChatRequest.model_fields:
            code = "unknown_parameter"
            message = f"{param}: there is no such parameter"
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return OpenAIError(message=message, type=kind, param=param, code=code)
