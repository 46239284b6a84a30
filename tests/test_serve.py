"""python src/serve.py, as a user runs it, with the client of OpenAI."""
# ruff: noqa: E402

import builtins
import queue
import signal
import sys
from threading import Thread, get_ident, main_thread

import pytest

pytest.importorskip("fastapi", reason="pip install -e '.[serve]'")
openai = pytest.importorskip("openai", reason="pip install openai")

from conftest import examples
from helpers.serving import encoded, message

import evaluate
import serve as entry
from loupe.evaluation.journal import read_parquet
from loupe.pictures import open_picture
from loupe.serving import app


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Run the server until ``use(client)``, in another thread, is done and presses Ctrl-C; returns its result."""
    bound, ports = app.bound, queue.Queue()

    def noted(host, port):
        listening = bound(host, port)
        ports.put(listening.getsockname()[1])
        return listening

    def run(use, *overrides):
        def talk():
            try:
                with openai.OpenAI(base_url=f"http://127.0.0.1:{ports.get(timeout=60)}/v1", api_key="any") as client:
                    results.append(use(client))
            finally:
                signal.pthread_kill(main_thread().ident, signal.SIGINT)

        results = []
        settings = ["threads=1", "port=0", f"paths.output_dir={tmp_path / 'out'}", *overrides]
        monkeypatch.setattr(sys, "argv", ["serve.py", *settings])
        monkeypatch.setattr(app, "bound", noted)
        talker = Thread(target=talk)
        talker.start()
        assert get_ident() == main_thread().ident
        entry.main()
        talker.join()
        return results[0]

    return run


def ask(client, example, **settings):
    picture = encoded(open_picture(example.image))
    settings = {"model": "policy", **settings}
    return client.chat.completions.create(messages=[message(example.question, picture)], **settings)


def check_against_evaluate(serve, tmp_path, monkeypatch, count):
    """The server gives the answers of evaluate.py, turn by turn."""
    folder = tmp_path / "judged"
    few = [
        f"evaluate.n={count}",
        "evaluate.resamples=20",
        "evaluate.conditions=[greedy,no_tool]",
        "trainer.enable_progress_bar=false",
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *few, f"paths.output_dir={folder}"])
    evaluate.main()
    rows = {(row["condition"], row["question"], row["id"]): row for row in read_parquet(folder / "answers.parquet")}
    models = {"greedy": "policy", "no_tool": "policy-no-tool"}

    def use(client):
        assert [model.id for model in client.models.list()] == list(models.values())
        return [
            (name, e, ask(client, e, model=model)) for e in examples(count, "test") for name, model in models.items()
        ]

    for name, example, answered in serve(use):
        row, (choice,) = rows[name, example.question, example.id], answered.choices
        assert choice.loupe["turns"] == list(row["turns"]) and choice.message.content == (row["answer"] or "")
        assert [call["status"] for call in choice.loupe["calls"]] == list(row["calls"])
        assert [call["box"] for call in choice.loupe["calls"] if call["box"]] == [list(box) for box in row["crops"]]


def test_answers_are_those_of_evaluate(serve, tmp_path, monkeypatch, capsys):
    check_against_evaluate(serve, tmp_path, monkeypatch, 2)
    told = capsys.readouterr().out
    assert "(for this machine alone; host=0.0.0.0 opens it to others)" in told and told.endswith("stopped\n")


@pytest.mark.slow
def test_fifty_answers_are_those_of_evaluate(serve, tmp_path, monkeypatch):
    check_against_evaluate(serve, tmp_path, monkeypatch, 50)


def test_samples_errors_and_several_clients(serve):
    (example,) = examples(1)

    def use(client):
        sampled = ask(client, example, n=2, temperature=1, seed=3)
        again = ask(client, example, n=2, temperature=1, seed=3)
        assert [c.loupe for c in sampled.choices] == [c.loupe for c in again.choices]
        with pytest.raises(openai.NotFoundError, match="model=policy-no-tool: there is policy"):
            ask(client, example, model="policy-no-tool")
        with pytest.raises(openai.BadRequestError, match="stream=True: not supported") as refusal:
            ask(client, example, stream=True)
        assert refusal.value.param == "stream" and refusal.value.type == "invalid_request_error"
        askers, answers = [], []
        for _ in range(3):
            askers.append(Thread(target=lambda: answers.append(ask(client, example).choices[0].loupe)))
            askers[-1].start()
        for asker in askers:
            asker.join()
        return answers

    answers = serve(use, "model=tiny_random", "tool=none", "rollout.max_new_tokens=4")
    assert len(answers) == 3 and answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("port=web", "error: port=web: must be a whole number from 0"),
        ("serve.max_pictures=0", "error: serve.max_pictures=0: must be a whole number, 1 or more"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, override, message):
    monkeypatch.setattr(sys, "argv", ["serve.py", "port=0", f"paths.output_dir={tmp_path}", override])
    with pytest.raises(SystemExit, match=message):
        entry.main()


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    load = builtins.__import__

    def without(name, *rest):
        if name == "loupe.serving":
            raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(sys, "argv", ["serve.py", f"paths.output_dir={tmp_path}"])
    with pytest.raises(SystemExit, match=r"error: fastapi is not installed; pip install -e '\.\[serve\]'"):
        entry.main()


def test_who_can_reach_it_is_said():
    assert "whoever can reach this machine; there is no password" in entry.announcement("0.0.0.0", 80)
    assert entry.announcement("::1", 80).startswith("http://[::1]:80 (for this machine alone")
