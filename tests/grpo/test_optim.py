from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from loupe.errors import UserError
from loupe.grpo.optim import Clock, checked, keep_settings, remembering


@pytest.mark.parametrize(
    "bad",
    [
        *({"lr": value} for value in (-1, float("nan"), float("inf"), 1e300, None, "fast")),
        *({"betas": value} for value in ([0.9], [0.9, 0.98, 0.99], 0.9, ["a", "b"])),
        *({"weight_decay": value} for value in (-1, float("nan"), float("inf"), 1e300)),
        *({"eps": value} for value in (float("nan"), float("inf"))),
    ],
)
def test_impossible_settings_are_named(bad):
    with pytest.raises(UserError) as refused:
        checked("algorithm.optimizer", partial(torch.optim.AdamW, **bad))
    (key, value) = next(iter(bad.items()))
    assert str(refused.value).startswith("algorithm.optimizer: ") and f"(given: {key}={value})" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Muon])
def test_possible_settings_pass(optimizer):
    make = partial(optimizer, lr=0.1, weight_decay=0.1)
    assert checked("algorithm.optimizer", make) is make


def test_a_loaded_state_keeps_the_settings_of_this_start():
    def make(lr, decay):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=lr, weight_decay=decay)
        return remembering(optimizer), LambdaLR(optimizer, lambda step: 1 / (step + 1))

    def step(optimizer, schedule):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
        optimizer.step()
        schedule.step()
        return optimizer.param_groups[0]["lr"]

    earlier, now = make(0.5, 0.1), make(0.1, 0.2)
    for _ in range(3):
        step(*earlier)
    for part, loaded in zip(now, earlier, strict=True):
        part.load_state_dict(loaded.state_dict())
    keep_settings(*now)
    (group,) = now[0].param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1 / 4, 0.2)
    assert step(*now) == pytest.approx(0.1 / 5)
    assert next(iter(now[0].state.values()))["step"] == 4


def test_groups_keep_settings_of_their_own():
    first, second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    groups = [{"params": [first], "weight_decay": 0.1}, {"params": [second], "weight_decay": 0, "lr": 0.01}]
    optimizer = remembering(torch.optim.AdamW(groups, lr=0.2))
    schedule = LambdaLR(optimizer, lambda step: 0.5)
    keep_settings(optimizer, schedule)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.1, 0.1), (0.005, 0)]
    assert schedule.base_lrs == [0.2, 0.01]


def test_a_phase_that_comes_again_adds_up(monkeypatch):
    """A clock that shows 0, 1, 2, ..: each phase takes one second, and the report is asked for at second 7."""
    times = iter(range(10))
    monkeypatch.setattr("loupe.grpo.optim.time.perf_counter", lambda: next(times))
    clock = Clock()
    for phase in ("rollout", "reward", "rollout"):
        with clock(phase):
            pass
    assert clock.report() == {"time/rollout": 2, "time/reward": 1, "time/step": 7}
