"""The HTTP side: the page, the models and the chat completions, with errors in OpenAI's form."""

import asyncio
import logging
import socket
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.resources import files
from threading import Thread

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from loupe.errors import BadExample, UserError
from loupe.serving.limits import Limits
from loupe.serving.requests import Refused, read_request
from loupe.serving.waiting import Waiting

SECONDS_TO_STOP = 5
"""For connections that are open when the server is to stop."""
SECONDS_BETWEEN_LOOKS = 0.5
"""At whether a client is still there."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Of the page: it loads nothing from elsewhere, and no other page can contain it."""


def create_app(waiting: Waiting, models: Collection[str], limits: Limits, hosts: Collection[str] = ("*",)) -> FastAPI:
    """The application. hosts: the names by which browsers may address it; any other page in them is kept out.

    A body must be declared as JSON, which a page from elsewhere cannot send without permission, and gets none here.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    page = files("loupe.serving").joinpath("page.html").read_text()

    @app.get("/")
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers=HEADERS)

    @app.get("/v1/models")
    async def list_models() -> dict:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "loupe"} for name in models]
        return {"object": "list", "data": data}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> JSONResponse:
        body = await _body(request, limits.max_megabytes)
        asked = await asyncio.to_thread(read_request, body, models, limits)
        return JSONResponse(await _answer(request, waiting.put(asked)))

    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> JSONResponse:
        if isinstance(error, Refused):
            return _error(str(error), error.status, error.param)
        return _error(str(error), 400 if isinstance(error, BadExample) else 500)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> JSONResponse:
        return _error(f"{request.method} {request.url.path}: {error.detail}", error.status_code)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return _error(f"a bug: {type(error).__name__}; the server's log has the traceback", 500)

    return app


async def _answer(request: Request, future: Future[dict]) -> dict:
    """The answer to come, which is withdrawn if the client leaves before its turn."""
    answer = asyncio.wrap_future(future)
    while not (await asyncio.wait([answer], timeout=SECONDS_BETWEEN_LOOKS))[0]:
        if await request.is_disconnected():
            answer.cancel()
            raise Refused("the client has left", 499)
    return answer.result()


async def _body(request: Request, max_megabytes: int) -> bytes:
    """The body of a request. Raises Refused for one that is too large or not JSON."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refused("the body must be JSON, with Content-Type: application/json", 415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_megabytes * 10**6:
            raise Refused(f"the body is too large: at most {max_megabytes} MB (serve.max_megabytes)", 413)
    return bytes(body)


def _error(message: str, status: int, param: str | None = None) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": None}}, status)


def bound(host: object, port: object) -> socket.socket:
    """A socket that listens there. Raises UserError if it cannot."""
    if not isinstance(host, str) or not host:
        raise UserError(f"host={host}: must be an address of this machine, such as 127.0.0.1")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise UserError(f"port={port}: must be a whole number from 0 (any free one) to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", error)).partition(" (")[0]
        raise UserError(f"host={host} port={port}: {reason}; choose others, or stop what listens there") from error


@contextmanager
def serving(app: FastAPI, listening: socket.socket, waiting: Waiting) -> Iterator[None]:
    """Serve in a thread of its own, so that the main thread can answer; stop at the end."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=SECONDS_TO_STOP)
    server = uvicorn.Server(config)

    def run() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            waiting.close()  # also after a bug: nobody would ask any more

    thread = Thread(target=run, name="http")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        waiting.close()
        thread.join()
