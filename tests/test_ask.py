"""python src/ask.py, as a user runs it."""

import re
import sys
from pathlib import Path

import pytest
from conftest import ANSWER, call
from PIL import Image

import ask as entry
from loupe.data.scenes import SignScene
from loupe.engine.dialogue import Dialogue
from loupe.engine.scripted import ScriptedRollout
from loupe.runs import build as builders

QUESTION = 'What\'s on the sign (left), "A; B!" – or {x}, ${y}, [z], 50% = ½? 日本\\'


@pytest.fixture
def ask(tmp_path, monkeypatch):
    def run(image, question, *overrides):
        arguments = [f"image={image}", f"question={question}", f"paths.output_dir={tmp_path / 'out'}", *overrides]
        monkeypatch.setattr(sys, "argv", ["ask.py", "model=tiny_random", "rollout.max_new_tokens=60", *arguments])
        entry.main()

    return run


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "it's a (photo), no. 1; ä = ö!.png"
    SignScene("test", 0, 0).render().save(path)
    return path


def scripted(monkeypatch, *turns):
    build = builders.build_rollout

    def build_scripted(cfg, policy, tools):
        rollout = build(cfg, policy, tools)
        options = {"max_new_tokens": rollout.max_new_tokens}
        return ScriptedRollout(policy, rollout.dialogue, script=[list(turns)], **options)

    monkeypatch.setattr(builders, "build_rollout", build_scripted)


def test_the_exchange_is_printed_and_drawn(ask, photo, monkeypatch, capsys, tmp_path):
    scripted(monkeypatch, call("[30, 40]"), ANSWER)
    ask(photo, QUESTION)
    told = capsys.readouterr().out
    assert QUESTION in told and "keypoint: [30, 40]" in told and "answer: 472" in told
    assert "[ok: pixels [235, 378, 635, 778] of the picture]" in told
    drawn = Image.open(tmp_path / "out" / "exchange.png")
    assert drawn.size == (640 + 8 + 480, 480)  # the picture, and the square crop beside it


def test_a_failed_call_and_no_answer(ask, photo, monkeypatch, capsys, tmp_path):
    scripted(monkeypatch, call("[300, 40]"), "<think>hm<|im_end|>")
    ask(photo, "What?")
    told = capsys.readouterr().out
    assert (
        "[out_of_bounds: Error: the keypoint [300, 40] lies outside the 112x84 picture.]" in told
        and "no answer (no_answer)" in told
    )
    assert Image.open(tmp_path / "out" / "exchange.png").size == (640, 480)


def test_the_model_itself_answers(ask, photo, capsys):
    ask(photo, "What?", "ask.greedy=false", "seed=2")
    told = capsys.readouterr().out
    assert told.splitlines()[0].endswith("shown at 112x84] What?")
    assert re.search("^(no answer|answer: )", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("image", "question", "message"),
    [
        ("missing, one.png", "What?", "error: image=missing, one.png: no such file"),
        ("", "What?", "error: image is empty; give image=photo.jpg question="),
        (__file__, " ", "error: question is empty; give image=photo.jpg question="),
        (__file__, "What?", "error: test_ask.py: .*test_ask.py: corrupt, truncated or not a picture"),
        (Path(__file__).parent, "What?", "error: image=.*: no such file"),
        ("/dev/zero", "What?", "error: image=/dev/zero: no such file"),
        ("x" * 300, "What?", "error: x*: File name too long; choose a shorter name"),
    ],
)
def test_what_cannot_be_asked(ask, image, question, message):
    with pytest.raises(SystemExit, match=message):
        ask(image, question)


@pytest.mark.parametrize(
    ("question", "override", "message"),
    [
        ("\udcff what?", "", r"error: it's a .*: the question holds a broken character \(a lone surrogate\)"),
        ("what " * 20_000, "", r"error: it's a .*: the prompt takes \d{5} tokens, more than prompt\.max_tokens"),
        ("What?", "earlier=a.png", r"error: earlier=a\.png: must be a list of pictures"),
        ("What?", "earlier=[nowhere.png]", r"error: earlier=nowhere\.png: no such file"),
        ("What?", "earlier=null", r"error: earlier=None: must be a list of pictures"),
        ("What?", "ask.greedy=5", r"error: ask\.greedy=5: must be one of true, false"),
    ],
)
def test_a_picture_that_cannot_be_asked_about_like_this(ask, photo, question, override, message):
    with pytest.raises(SystemExit, match=message):
        ask(photo, question, *filter(None, [override]))


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
def test_about_a_thin_picture(ask, monkeypatch, tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "thin.png")
    scripted(monkeypatch, call("[0, 0]"), ANSWER)
    ask(tmp_path / "thin.png", "What?")
    assert Image.open(tmp_path / "out" / "exchange.png").width < 6000


def test_both_must_be_given(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["ask.py", "model=tiny_random", f"paths.output_dir={tmp_path}"])
    with pytest.raises(SystemExit, match=r"error: image is empty; give image=photo\.jpg"):
        entry.main()


def test_about_several_pictures(ask, photo, monkeypatch, tmp_path, capsys):
    other = tmp_path / "other.png"
    Image.new("RGB", (400, 900)).save(other)
    seen = []
    prompt = Dialogue.prompt
    monkeypatch.setattr(Dialogue, "prompt", lambda self, example: seen.append(prompt(self, example)) or seen[-1])
    scripted(monkeypatch, ANSWER)
    ask(photo, "Which is larger?", f"earlier=['{other}']")
    assert [image.grid for image in seen[0].images] == [(1, 8, 4), (1, 6, 8)]
    with pytest.raises(SystemExit, match=r"none\.png: no such file"):
        ask(photo, "Which is larger?", "earlier=[none.png]")
