import queue
from threading import Thread

import pytest

pytest.importorskip("fastapi", reason="pip install -e '.[serve]'")

from loupe.errors import BadExample
from loupe.records import Example
from loupe.serving.requests import Asked, Refused
from loupe.serving.waiting import Waiting


def asked(question: str) -> Asked:
    return Asked("policy", Example("", b"", question, ()))


def answer(asked: Asked) -> dict:
    if asked.example.question == "Odd?":
        raise BadExample("odd")
    return {"answer": asked.example.question}


def test_questions_are_answered_in_order_by_one_thread():
    waiting = Waiting(3)
    answers = [waiting.put(asked(question)) for question in ("One?", "Odd?", "Two?")]
    with pytest.raises(Refused, match=r"3 requests are waiting \(serve.max_waiting\)") as refusal:
        waiting.put(asked("Three?"))
    assert refusal.value.status == 429
    worker = Thread(target=waiting.work, args=[answer])
    worker.start()
    assert [answers[i].result(10) for i in (0, 2)] == [{"answer": "One?"}, {"answer": "Two?"}]
    assert isinstance(answers[1].exception(10), BadExample)
    waiting.close()
    worker.join(10)
    assert not worker.is_alive()


def test_a_question_that_was_withdrawn_is_not_answered():
    waiting, seen = Waiting(3), []
    first, second = waiting.put(asked("One?")), waiting.put(asked("Two?"))
    first.cancel()

    def note(asked: Asked) -> dict:
        seen.append(asked.example.question)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        waiting.work(note)
    assert seen == ["Two?"] and second.exception(0).status == 503


def test_nothing_waits_for_ever():
    waiting = Waiting(3)
    first, second = waiting.put(asked("One?")), waiting.put(asked("Two?"))
    first.cancel()
    waiting.close()
    assert second.exception(0).status == 503
    with pytest.raises(Refused, match="the server is stopping"):
        waiting.put(asked("Three?"))
    waiting.work(answer)  # returns


def test_a_wait_that_ends_without_a_question_is_taken_up_again(monkeypatch):
    """A signal that comes just before a wait does not end it, so each wait is short."""
    waiting, waits = Waiting(1), []
    get = waiting._jobs.get

    def first_without(timeout):
        waits.append(timeout)
        if len(waits) == 1:
            raise queue.Empty
        return get(timeout=timeout)

    monkeypatch.setattr(waiting._jobs, "get", first_without)
    future = waiting.put(asked("One?"))
    waiting._jobs.put(None)
    waiting.work(answer)
    assert future.result() == {"answer": "One?"} and waits == [1, 1, 1]
