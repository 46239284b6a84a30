import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ANSWER, MIXED, call, examples, make_rollout, scripted
from helpers.compare import assert_close
from PIL import Image

from loupe.engine import reference, update
from loupe.engine.positions import mrope_positions
from loupe.engine.scripted import ScriptedRollout
from loupe.records import ImagePatches


def test_positions_by_hand():
    image = ImagePatches(torch.zeros(24, 1), (1, 4, 6))  # 2 x 3 merged cells
    positions, after = mrope_positions([7, 7, 5, 5, 5, 5, 5, 5, 7], [image], start=10, image_token=5, merge=2)
    assert positions.tolist() == [
        [10, 11, 12, 12, 12, 12, 12, 12, 15],
        [10, 11, 12, 12, 12, 13, 13, 13, 15],
        [10, 11, 12, 13, 14, 12, 13, 14, 15],
    ]
    assert after == 16


def several_pictures(policy, script):
    """A question about three pictures of different sizes, answered by ``script``."""
    one, *others = examples(3)
    small = Image.new("RGB", (400, 900), "red")
    file = io.BytesIO()
    small.save(file, "PNG")
    asked = replace(one, earlier_images=(others[0].image, file.getvalue()))
    (group,), _ = make_rollout(policy, ScriptedRollout, script=script, max_new_tokens=60)([asked], len(script), step=0)
    return group


def test_several_pictures_in_one_question(shared_policy):
    """Prompt, positions, and the update's log-probabilities against the plain path."""
    group = several_pictures(shared_policy, MIXED[:3])
    grids = [image.grid for image in group.prompt.images]
    assert grids[0] == grids[2] != grids[1]
    text = shared_policy.tokenizer.decode(group.prompt.ids)
    assert text.count("<|vision_start|>") == 3 and "A picture of 56x112 pixels. " in text
    assert text.index("A picture of 112x84") < text.index("A picture of 56x112") < text.index("The picture is 112x84")
    for trajectory in group.trajectories:
        ids, images = group.prompt.ids + trajectory.ids, group.prompt.images + trajectory.images
        where = {"image_token": shared_policy.image_token, "merge": shared_policy.merge}
        positions, _ = mrope_positions(ids, images, 0, **where)
        assert_close(positions, rope_index(shared_policy, ids, images), name="positions")
    for trajectory, ours in update.logprobs(shared_policy, [group], 1.0, 700):
        expected = reference.logprobs(shared_policy, group.prompt, trajectory, 1.0)
        both = {"plain path": expected, "rollout": trajectory.sampled_logprobs}
        assert_close(dict.fromkeys(both, ours), both, atol=1e-4)


def rope_index(policy, ids, images):
    tokens = torch.tensor([ids])
    expected, _ = policy.backbone.model.get_rope_index(
        tokens,
        mm_token_type_ids=(tokens == policy.image_token).long(),
        image_grid_thw=torch.tensor([image.grid for image in images]),
    )
    return expected[:, 0]


@pytest.mark.parametrize("sample", range(len(MIXED)))
def test_positions_equal_transformers_get_rope_index(shared_policy, sample):
    group = scripted(shared_policy, MIXED, max_new_tokens=60)[0]
    trajectory, prompt = group.trajectories[sample], group.prompt
    expected = rope_index(shared_policy, prompt.ids + trajectory.ids, prompt.images + trajectory.images)
    where = {"image_token": shared_policy.image_token, "merge": shared_policy.merge}
    before, start = mrope_positions(prompt.ids, prompt.images, 0, **where)
    after, _ = mrope_positions(trajectory.ids, trajectory.images, start, **where)
    assert_close(np.concatenate([before, after], axis=1), expected, name="positions")


def test_three_turns_hold_three_pictures_in_order(shared_policy):
    script = [[call("[20, 40]"), call("[90, 40]"), ANSWER]]
    trajectory = scripted(shared_policy, script, max_calls=2, max_new_tokens=60)[0].trajectories[0]
    assert [image.grid for image in trajectory.images] == [(1, 8, 8), (1, 8, 8)]
    assert not torch.equal(trajectory.images[0].pixels, trajectory.images[1].pixels)
