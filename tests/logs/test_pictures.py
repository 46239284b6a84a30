import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import ANSWER, call, examples, make_rollout
from PIL import Image

from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.logs import pictures
from loupe.logs.pictures import LONGEST, NOTHING, PictureStore, encoded, reduced, share


class Unhashable(list):
    """A picture that draws itself."""

    def __init__(self, scene):
        self.render = scene.render


@pytest.fixture
def recorded(shared_policy):
    """A group with a direct answer and a zoom, and the rollout that sampled it."""
    script = [[ANSWER], [call("[20, 40]"), ANSWER]]
    rollout = make_rollout(shared_policy, ScriptedRollout, script=script, max_new_tokens=60)
    return rollout(examples(1), len(script), step=0)[0], rollout


@pytest.mark.parametrize("light", [False, True])
def test_crops_are_kept_as_shown_and_the_picture_once(recorded, tmp_path, light):
    (group,), rollout = recorded
    (crop,) = rollout.environment.shown(group.trajectories[1], group.prompt)
    groups = [group.light() if light else group]
    rows = PictureStore(tmp_path, 20).with_pictures([{}, {}], groups, rollout)
    assert [len(row["shown"]) for row in rows] == [0, 1]
    assert np.array_equal(np.asarray(Image.open(tmp_path / rows[1]["shown"][0])), np.asarray(crop))
    assert rows[0]["picture"] == rows[1]["picture"] and rows[0]["size"] == list(group.prompt.require_picture().size)
    assert max(Image.open(tmp_path / rows[0]["picture"]).size) == LONGEST
    again = PictureStore(tmp_path, 20).with_pictures([{}, {}], groups, rollout)
    assert again == rows and len(list(tmp_path.iterdir())) == 2


def test_the_picture_of_a_question_is_made_once(recorded, tmp_path, monkeypatch):
    (group,), rollout = recorded
    made = []
    monkeypatch.setattr(pictures, "reduced", lambda picture: made.append(picture.size) or reduced(picture))
    store = PictureStore(tmp_path, 20)
    first = store.with_pictures([{}, {}], [group], rollout)
    assert store.with_pictures([{}, {}], [group.light()], rollout) == first
    assert made.count((1600, 1200)) == 1
    (again,), _ = rollout(examples(2)[1:], 2, step=0)
    for image in (again.example.image, Unhashable(again.example.image)):  # of the same id
        again.example = replace(again.example, id=group.example.id, image=image)
        assert store.with_pictures([{}, {}], [again], rollout)[0]["picture"] != first[0]["picture"]


def test_no_more_is_kept_than_asked_for(recorded, tmp_path):
    (group,), rollout = recorded
    rows = [{"id": "a"}, {"id": "b"}]
    assert PictureStore(tmp_path / "none", 0).with_pictures(rows, [group], rollout) == [row | NOTHING for row in rows]
    assert not (tmp_path / "none").exists()
    store = PictureStore(tmp_path, 1e-3)
    store.with_pictures(rows, [group], rollout)
    assert store.bytes == sum(file.stat().st_size for file in tmp_path.glob("*")) > 1000
    assert PictureStore(tmp_path, 1e-3).with_pictures(rows, [group], rollout)[0]["picture"] is None
    assert PictureStore(tmp_path, 1).with_pictures(rows, [group], rollout, share=1e-3)[0]["picture"] is None


def test_the_pictures_of_a_run_that_is_set_aside_do_not_count(recorded, tmp_path):
    (group,), rollout = recorded
    (tmp_path / "earlier.png").write_bytes(bytes(5000))
    store = PictureStore(tmp_path, 4e-3)
    (tmp_path / "earlier.png").unlink()
    assert store.with_pictures([{}, {}], [group], rollout)[0]["picture"]


def test_a_picture_on_another_rank_or_gone_is_left_out(recorded, tmp_path, caplog):
    (group,), rollout = recorded
    elsewhere, gone = group.light(), group.light()
    elsewhere.example = replace(group.example, image=b"")
    gone.example = replace(group.example, image=tmp_path / "gone.jpg")
    rows = PictureStore(tmp_path, 20).with_pictures([{}] * 4, [elsewhere, gone], rollout)
    assert rows == [NOTHING] * 4
    assert "gone.jpg" in caplog.text


def test_small_pictures_keep_every_pixel():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8))
    content, kind = encoded(noise)
    assert kind == "png" and np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(noise))
    assert encoded(Image.new("RGB", (640, 480)))[1] == "jpg"
    assert reduced(Image.new("RGB", (3000, 3))).size == (LONGEST, 1)


def test_a_bad_setting(tmp_path):
    with pytest.raises(UserError, match=r"report\.megabytes=-1"):
        PictureStore(tmp_path, -1)


def test_every_part_of_a_run_has_room_of_its_own():
    """So that the pictures of early steps leave room for those of late ones, and all of them for the final answers."""
    assert (share("before", 0), share("after", 1)) == (0.25, 1.0)
    assert [share("train", done) for done in (0.2, 0.6, 1, 1.5)] == pytest.approx([0.35, 0.55, 0.75, 0.75])
    assert share("val", 0.6) == share("train", 0.6)
