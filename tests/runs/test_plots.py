from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from conftest import make_rollout
from PIL import Image

from loupe.engine.environment import Environment
from loupe.geometry import Frame
from loupe.records import OK, Example, Group, Prompt, ToolEvent, Trajectory
from loupe.runs.plots import (
    HEIGHT,
    WIDEST,
    advantage_figure,
    exchange_picture,
    exchanges_figure,
    learning_figure,
    smooth,
)

BLUE = (0x00, 0x72, 0xB2)
ORANGE = (0xD5, 0x5E, 0x00)


class SolidPicture:
    def __init__(self, picture):
        self.picture = picture

    def render(self):
        return self.picture


def row(step, **counts):
    """A logged step: successes have advantage 0.5, the rest -0.5."""
    line = {"step": step}
    for kind in ("no_tool", "tool_success", "tool_fail"):
        count, prefix = counts.get(kind, 0), f"advantage/all/{kind}"
        line |= {f"{prefix}/count": count, f"{prefix}/share": count / sum(counts.values())}
        if count:
            mean = 0.5 if kind == "tool_success" else -0.5
            line |= {f"{prefix}/mean": mean, f"{prefix}/q25": mean - 0.2, f"{prefix}/q75": mean + 0.2}
    return line


def draw(tmp_path, rows):
    """The pixels [height, width, 3] of the figure."""
    advantage_figure(rows, tmp_path / "advantages.png")
    with Image.open(tmp_path / "advantages.png") as image:
        parts = {key.split("/")[1] for row in rows for key in row if key.startswith("advantage/")} | {"all"}
        assert image.size == (375 + 675 * len(parts), 1050)  # 4.5 inches more for each subset
        return np.asarray(image.convert("RGB"))


def has(pixels, color):
    """Whether ``color`` is in the upper panel, above which stands only the legend."""
    return bool((pixels[100:550] == color).all(-1).any())


def test_draws_the_types_that_there_are_and_leaves_out_validation_lines(tmp_path):
    rows = [row(step, no_tool=4, tool_success=4) for step in (1, 2, 3)]
    pixels = draw(tmp_path, [*rows, {"step": 3, "val/score/all": 0.5}])
    assert has(pixels, BLUE) and not has(pixels, ORANGE)


def test_a_type_may_come_and_go(tmp_path):
    rows = [row(1, tool_fail=4), row(2, no_tool=4), row(3, tool_success=2, tool_fail=2)]
    pixels = draw(tmp_path, rows)
    assert has(pixels, BLUE) and has(pixels, ORANGE)


def test_each_subset_has_a_panel_of_its_own(tmp_path):
    line = row(1, tool_success=4, no_tool=4)
    for kind, mean in (("tool_success", 0.5), ("no_tool", -0.5), ("tool_fail", -0.5)):
        line |= {f"advantage/large/{kind}/mean": -mean, f"advantage/large/{kind}/share": 0.3}
    pixels = draw(tmp_path, [line, line | {"step": 2}])
    assert has(pixels[:, :800], BLUE) and has(pixels[:, 800:], BLUE)
    assert has(pixels[:, 800:], ORANGE) and not has(pixels[:, :800], ORANGE)


def test_a_single_step_is_visible(tmp_path):
    assert has(draw(tmp_path, [row(1, tool_success=8)]), BLUE)


def test_no_steps_at_all(tmp_path):
    assert not has(draw(tmp_path, [{"step": 0, "val/score/all": 0.5}]), BLUE)


def test_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    draw(tmp_path, [row(1, no_tool=1)])
    assert dict(matplotlib.rcParams) == before


def test_smoothing_weighs_the_past_and_starts_without_a_pull():
    # weights 1; 0.9, 1; 0.81, 0.9, 1
    assert smooth([4.0, 1.0, 2.0]) == pytest.approx([4.0, 4.6 / 1.9, 6.14 / 2.71])


def test_the_learning_curve_has_a_line_for_each_subset(tmp_path):
    rows = [{"step": 1, "loss": 0.0}]
    rows += [{"step": s, "val/score/all": 0.5, "val/zoom_rate/all": 0.5} for s in (0, 25)]
    rows[-1] |= {"val/score/small": 0.2, "val/zoom_rate/small": 0.9}
    rows[-1] |= {"val/score/large": 0.7, "val/zoom_rate/large": 0.1}
    for name, lines in (("both", rows), ("all", rows[:2]), ("none", rows[:1])):
        learning_figure(lines, tmp_path / f"{name}.png")
    orange, blue = (0xE6, 0x9F, 0x00), BLUE
    for name, there in (("both", True), ("all", False), ("none", False)):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        for color in (orange, blue):
            assert bool((pixels == color).all(-1).any()) == there


def exchange(picture, policy):
    """A call that was executed by some tool, which points near the upper left corner."""
    prompt = Prompt([], [], picture, picture.size, Frame.of("shown", picture.size, picture.size))
    trajectory = Trajectory(0, events=[ToolEvent(OK, "look", keypoint=(50.0, 50.0), box=(0, 0, 100, 100))])
    example = Example("1", SolidPicture(picture), "?", ())
    return Group(example, prompt, [trajectory]), Environment(make_rollout(policy).dialogue)


def test_the_exchange_of_a_tool_that_shows_no_picture(shared_policy):
    """Its box is drawn."""
    drawn = exchange_picture(*exchange(Image.new("RGB", (HEIGHT, HEIGHT), "black"), shared_policy))
    assert drawn.size == (HEIGHT, HEIGHT)
    assert drawn.getpixel((0, 0)) == (255, 0, 0)  # a corner of the box


@pytest.mark.parametrize(("size", "width"), [((200_000, 1), WIDEST), ((1, 20_000), 1), ((1000, 500), 2 * HEIGHT)])
def test_the_exchange_about_a_thin_picture(shared_policy, size, width):
    assert exchange_picture(*exchange(Image.new("RGB", size), shared_policy)).size == (width, HEIGHT)


def test_two_exchanges_with_what_was_said(shared_policy, tmp_path, monkeypatch):
    """Told are question, dialogue, references and verdict, whatever characters they hold."""
    group, environment = exchange(Image.new("RGB", (64, 48)), shared_policy)
    group.example = replace(group.example, references=("a", "b", "a"), subset="small")
    group.trajectories[0].turns = ["<think>$x$ 100%</think>\n" * 50, "<answer>a</answer>"]
    written = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda axes, x, y, text, style: written.append((text, style)))
    rows = [{"question": "What is $it?", "reward": 1.0, "score": score} for score in (1.0, 0, 0.6)]
    exchanges_figure([(group, row) for row in rows], environment, tmp_path / "example.png")
    texts = [text for text, _ in written]
    assert texts[0] == "What is $it?  (small)" and texts[2] == "reference: a | b"
    assert texts[1].count("\n") == 11 and texts[1].endswith("\n...")
    assert texts[3::4] == ["right, reward 1.00", "wrong, reward 1.00", "score 0.60, reward 1.00"]
    assert not any(style["parse_math"] for _, style in written)
    monkeypatch.undo()
    exchanges_figure([(group, rows[0]), (group, rows[1])], environment, tmp_path / "example.png")
    assert Image.open(tmp_path / "example.png").size == (1200, 640)


def test_every_axis_of_the_learning_curve_says_what_it_shows(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *args, **options: shown.append(figure))
    learning_figure([{"step": 0, "val/score/all": 0.5, "val/zoom_rate/all": 0.5}], tmp_path / "learning.png")
    (figure,) = shown
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    assert labels == [("training step", "score"), ("training step", "share of answers")]
