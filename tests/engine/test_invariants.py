import dataclasses

import pytest
from conftest import ANSWER, call, scripted

from loupe.engine.invariants import InvariantError, check_trajectory


@pytest.fixture
def group(shared_policy):
    return scripted(shared_policy, [[call("[20, 40]"), ANSWER]], max_new_tokens=60)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, p: {"images": []}, r"placeholders \[16\], grid cells \[\]"),
        (lambda t, p: {"images": t.images * 2}, "grid cells"),
        (lambda t, p: {"sampled": t.sampled[1:]}, "lengths differ"),
        (lambda t, p: {"logprobs": [*t.logprobs, 0.0]}, "lengths differ"),
        (lambda t, p: {"logprobs": [0.5, *t.logprobs[1:]]}, r"log-probability 0\.5"),
        (lambda t, p: {"logprobs": [float("nan"), *t.logprobs[1:]]}, "log-probability nan"),
        (lambda t, p: {"ids": [p.pad_token, *t.ids[1:]]}, "banned token"),
        (lambda t, p: {"events": []}, "not executed left a picture"),
    ],
)
def test_an_inconsistent_trajectory_is_caught(group, shared_policy, change, message):
    trajectory = group.trajectories[0]
    check_trajectory(trajectory, group.prompt, shared_policy)
    broken = dataclasses.replace(trajectory, **change(trajectory, shared_policy))
    with pytest.raises(InvariantError, match=message):
        check_trajectory(broken, group.prompt, shared_policy)
