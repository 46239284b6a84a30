import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import ANSWER, call, make_rollout
from PIL import Image

from loupe.data.signs import Signs
from loupe.engine.scripted import ScriptedRollout
from loupe.evaluation.crops import Recropped, blank, noise, shuffled
from loupe.pictures import open_picture
from loupe.records import Example


def test_shuffled_cuts_from_another_picture(shared_policy):
    signs = Signs("test", 0, 5)
    cropped = Recropped(signs, shuffled)
    assert len(cropped) == 5
    for index in range(5):
        one, other = signs[index], cropped[index].zoom_image
        assert cropped[index] == replace(one, zoom_image=other)
        assert other != one.image
    assert {cropped[i].zoom_image.key for i in range(5)} == {signs[i].image.key for i in range(5)}
    with pytest.raises(IndexError):
        cropped[5]
    rollout = make_rollout(shared_policy, ScriptedRollout, script=[[call("[20, 40]"), ANSWER]])
    (right,), _ = rollout([signs[0]], 1, step=0)
    (wrong,), _ = rollout([cropped[0]], 1, step=0)
    partner = signs[2].image.render()
    assert right.trajectories[0].ids == wrong.trajectories[0].ids
    assert right.prompt.images[0].pixels.equal(wrong.prompt.images[0].pixels)  # the overview is still its own
    box = wrong.trajectories[0].events[0].box
    shown = rollout.dialogue.policy.patches(partner.crop(box).resize((112, 112), 3, reducing_gap=3.0))
    assert wrong.trajectories[0].images[0].pixels.equal(shown.pixels)


@pytest.mark.parametrize("n", [2, 4, 5])
def test_shuffled_never_cuts_from_the_own_picture(n):
    """Also where the questions about one picture lie half the set apart."""
    pictures = [b"one", b"two", b"one", b"two", b"two"]
    rows = [Example(str(i), pictures[i % 5] if n > 2 else bytes([i]), "?", ("7",)) for i in range(n)]
    cropped = Recropped(rows, shuffled)
    assert all(cropped[i].zoom_image != cropped[i].image for i in range(n))


def test_blank_is_the_mean_gray_of_the_picture():
    picture = Image.new("RGB", (30, 20), "black")
    picture.paste("white", (0, 0, 10, 20))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    rows = [Example("a", buffer.getvalue(), "?", ("7",))]
    shown = open_picture(Recropped(rows, blank)[0].zoom_image)
    assert shown.size == (30, 20) and shown.getcolors() == [(600, (85, 85, 85))]


def test_noise_is_uniform_and_that_of_its_question():
    signs = Recropped(Signs("test", 0, 2), noise)
    one, again, other = (np.asarray(open_picture(signs[i].zoom_image)) for i in (0, 0, 1))
    assert one.shape == (1200, 1600, 3) and (one == again).all() and (one == other).mean() < 0.01
    counts = np.bincount(one.ravel(), minlength=256) / one.size
    assert counts == pytest.approx(np.full(256, 1 / 256), abs=2e-4)


@pytest.mark.parametrize("source", [blank, noise])
def test_the_tool_cuts_from_what_replaces_the_picture(shared_policy, source):
    example = Recropped(Signs("test", 0, 1), source)[0]
    rollout = make_rollout(shared_policy, ScriptedRollout, script=[[call("[20, 40]"), ANSWER]])
    (group,), _ = rollout([example], 1, step=0)
    (shown,) = rollout.environment.shown(group.trajectories[0], group.prompt)
    box = group.trajectories[0].events[0].box
    assert shown == open_picture(example.zoom_image).crop(box).resize((112, 112), 3, reducing_gap=3.0)
    assert group.prompt.images[0].shown == rollout.dialogue.overview(example.image.render())
