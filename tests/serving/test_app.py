import asyncio
import socket
from concurrent.futures import Future
from threading import Thread

import pytest

pytest.importorskip("fastapi", reason="pip install -e '.[serve]'")

from helpers.serving import message, png
from starlette.testclient import TestClient

from loupe.errors import BadExample, NonFiniteError, UserError
from loupe.serving import app
from loupe.serving.app import bound, create_app
from loupe.serving.limits import Limits
from loupe.serving.requests import Refused
from loupe.serving.waiting import Waiting

LIMITS = Limits(max_pictures=2, max_megapixels=1, max_megabytes=1, max_samples=4, max_waiting=2)
CHAT = "/v1/chat/completions"
ERRORS = {"bad": BadExample("bad row"), "nan": NonFiniteError("not finite"), "bug": KeyError("bug")}


def answer(asked):
    if asked.example.question in ERRORS:
        raise ERRORS[asked.example.question]
    return {"answer": asked.example.question, "model": asked.model}


@pytest.fixture
def client():
    waiting = Waiting(LIMITS.max_waiting)
    worker = Thread(target=waiting.work, args=[answer])
    worker.start()
    application = create_app(waiting, ["policy"], LIMITS, ["localhost"])
    with TestClient(application, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client
    waiting.close()
    worker.join()


def chat(question: str) -> dict:
    return {"model": "policy", "messages": [message(question, png())]}


def test_page_models_and_answers(client):
    page = client.get("/")
    assert "Loupe" in page.text and page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["policy"]
    assert client.post(CHAT, json=chat("What?")).json() == {"answer": "What?", "model": "policy"}


@pytest.mark.parametrize(
    ("question", "status", "message"),
    [
        ("bad", 400, "bad row"),
        ("nan", 500, "not finite"),
        ("bug", 500, "a bug: KeyError; the server's log has the traceback"),
        (" ", 400, "messages[0].content: no question; add a part of type text"),
    ],
)
def test_errors_have_openais_form(client, question, status, message):
    answered = client.post(CHAT, json=chat(question))
    assert answered.status_code == status and answered.json()["error"]["message"] == message
    assert answered.json()["error"]["type"] == ("invalid_request_error" if status == 400 else "server_error")


def test_requests_that_never_reach_the_policy(client):
    too_large = client.post(CHAT, content=b"x" * 1_000_001, headers={"content-type": "application/json"})
    from_a_form = client.post(CHAT, content=b"{}", headers={"content-type": "text/plain"})
    found = [(r.status_code, r.json()["error"]["message"]) for r in (too_large, from_a_form, client.get("/v1/other"))]
    assert found == [
        (413, "the body is too large: at most 1 MB (serve.max_megabytes)"),
        (415, "the body must be JSON, with Content-Type: application/json"),
        (404, "GET /v1/other: Not Found"),
    ]
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_the_question_of_a_client_that_has_left_is_withdrawn(monkeypatch):
    class Request:
        async def is_disconnected(self) -> bool:
            return True

    monkeypatch.setattr(app, "SECONDS_BETWEEN_LOOKS", 0.01)
    future = Future()
    with pytest.raises(Refused, match="the client has left"):
        asyncio.run(app._answer(Request(), future))
    assert future.cancelled()


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        (None, 0, "host=None: must be an address of this machine"),
        ("127.0.0.1", 70_000, "port=70000: must be a whole number from 0"),
        ("127.0.0.1", True, "port=True: must be a whole number"),
        ("192.0.2.1", 0, r"host=192\.0\.2\.1 port=0: .*; choose others"),
        ("a..b", 0, r"host=a\.\.b port=0: "),
    ],
)
def test_addresses_that_cannot_be_used(host, port, message):
    with pytest.raises(UserError, match=message):
        bound(host, port)


def test_a_port_that_is_taken():
    with bound("127.0.0.1", 0) as first, pytest.raises(UserError, match="Address already in use; choose"):
        assert first.family is socket.AF_INET
        bound("127.0.0.1", first.getsockname()[1])
