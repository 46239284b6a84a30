"""A policy that cannot begin a call: whatever its tokens, at any temperature, and with the same prompt."""

from types import SimpleNamespace

import pytest
import torch
from conftest import examples, make_rollout, zoom_tools

from loupe.engine.forbidden import Forbidden
from loupe.models.load import load_policy
from loupe.paths import package_path
from loupe.records import StopReason, TrajectoryType

PIECES = ["<", "t", "to", "tool", "o", "<t", "<tool", ">\n<tool", "h", "<think", "answer", "<to", "x<", "total"]


def allowed(tag: str, text: str) -> list[str]:
    """The pieces that a policy with a token for each of them may write after ``text``."""
    tokenizer = type("Pieces", (), {"decode": lambda _, ids: PIECES[ids[0]], "__len__": lambda _: len(PIECES)})()
    policy = SimpleNamespace(tokenizer=tokenizer, ban=torch.zeros(len(PIECES) + 2))
    logp = torch.log_softmax(torch.arange(len(PIECES) + 2.0), -1)
    (left,) = Forbidden(policy, tag).applied(logp[None], [text])
    assert left.exp().sum().item() == pytest.approx(1)
    assert not left[len(PIECES) :].isinf().any()
    return [piece for piece, value in zip(PIECES, left, strict=False) if value > -torch.inf]


@pytest.mark.parametrize("tag", ["tool", "tool_call"])
@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ("", ["<tool", ">\n<tool", "<to"]),
        ("</think>\n", ["<tool", ">\n<tool", "<to"]),
        ("</think>\n<", ["to", "tool", "<tool", ">\n<tool", "<to", "total"]),
        ("</think>\n<t", ["o", "<tool", ">\n<tool", "<to"]),
        ("t", ["<tool", ">\n<tool", "<to"]),
    ],
)
def test_it_ends_where_another_tag_is_still_possible(tag, text, banned):
    assert allowed(tag, text) == [piece for piece in PIECES if piece not in banned]


@pytest.fixture(scope="module")
def miniature():
    return load_policy(package_path("models/miniature"), trainable=False)


@pytest.mark.parametrize("greedy", [True, False])
def test_the_policy_answers_where_it_would_call(miniature, greedy):
    free, bound = (make_rollout(miniature, tools=tools) for tools in (zoom_tools(), zoom_tools().described()))
    asked, size = (examples(4), 1) if greedy else (examples(2), 4)
    (groups, _), (others, _) = (rollout(asked, size, step=0, greedy=greedy) for rollout in (free, bound))
    pairs = []
    for group, other in zip(groups, others, strict=True):
        assert group.prompt.ids == other.prompt.ids
        pairs += zip(group.trajectories, other.trajectories, strict=True)
    assert {t.type for _, t in pairs} == {TrajectoryType.NO_TOOL}
    assert all(t.stop is StopReason.ANSWERED for _, t in pairs)
    direct = [(t, same) for t, same in pairs if t.type is TrajectoryType.NO_TOOL]
    assert 0 < len(direct) < len(pairs)
    if greedy:
        assert all(t.ids == same.ids for t, same in direct)
        called = [(t.turns[0], same.turns[0]) for t, same in pairs if t.type is not TrajectoryType.NO_TOOL]
        assert all(turn.partition("<tool")[0] == same.partition("<answer")[0] for turn, same in called)
