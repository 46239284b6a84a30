import pytest
from conftest import bare_group, zoom_call

from loupe.errors import UserError
from loupe.records import Example, Group, ToolEvent, Trajectory
from loupe.rewards import terms

CALL = f"<think>look closer</think>\n<tool>{zoom_call([3, 4])}</tool>"
TEN = ("Stop", "stop", "STOP.", "the stop", "stop sign", "stop sign", "halt", "go", "go!", "yield")
"""Normalised: 4 x stop, 2 x stop sign, 2 x go, 1 x halt, 1 x yield."""


def question(*references: str) -> Group:
    return bare_group(Example(id="q1", image=b"", question="What does it say?", references=references))


def trajectory(*turns: str, events: tuple[str, ...] = ()) -> Trajectory:
    return Trajectory(sample=0, turns=list(turns), events=[ToolEvent(status) for status in events])


def answering(answer: str) -> Trajectory:
    return trajectory(f"<think>ok</think><answer>{answer}</answer>")


@pytest.mark.parametrize(
    ("answer", "simple", "left_out"),
    [
        ("a stop", 1.0, 1.0),  # 4 matches: every set of 9 keeps at least 3
        ("stop sign", 2 / 3, 0.6),  # 2 matches: (8 * 2/3 + 2 * 1/3) / 10
        ("go", 2 / 3, 0.6),
        ("halt", 1 / 3, 0.3),  # 1 match: (9 * 1/3 + 1 * 0) / 10
        ("walk", 0.0, 0.0),
    ],
)
def test_vqa_score_over_ten_references(answer, simple, left_out):
    assert terms.vqa_score(answer, TEN) == pytest.approx(simple)
    assert terms.vqa_score_leave_one_out(answer, TEN) == pytest.approx(left_out)


def test_three_matches_are_full_only_in_the_simple_form():
    references = ["7"] * 3 + ["8"] * 7
    assert terms.vqa_score("seven", references) == 1.0
    assert terms.vqa_score_leave_one_out("seven", references) == pytest.approx(0.9)  # (7 * 1 + 3 * 2/3) / 10


@pytest.mark.parametrize(
    ("references", "simple", "left_out"),
    [
        (("red",), 1.0, 1.0),
        (("blue",), 0.0, 0.0),
        (("red", "blue"), 0.5, 0.5),  # sets of one: 0 and 1
        (("red", "red", "blue"), 2 / 3, 2 / 3),  # sets of two: 1/2, 1/2 and 1
    ],
)
def test_few_references_shrink_the_denominator(references, simple, left_out):
    assert terms.vqa_score("red", references) == pytest.approx(simple)
    assert terms.vqa_score_leave_one_out("red", references) == pytest.approx(left_out)


@pytest.mark.parametrize("score", [terms.vqa_score, terms.vqa_score_leave_one_out, terms.soft_score])
def test_no_references(score):
    with pytest.raises(UserError, match="no reference answers"):
        score("red", ())


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("Stop!", ("stop",), 1.0),
        ("stop", ("shop",), 0.75),  # 1 edit of 4
        ("stop", ("stopped",), 4 / 7),  # 3 insertions, longer string 7
        ("abc", ("xyz",), 0.0),
        ("stop", ("xyz", "stop", "shop", "step", "go go go"), (1 + 0.75 + 0.75) / 3),
        ("stop", ("stop", "shop"), 0.875),
        ("", ("stop",), 0.0),
        ("the", ("stop",), 0.0),  # normalized to nothing
        ("the", ("A",), 1.0),  # both normalized to nothing: equal, as for vqa_score
    ],
)
def test_soft_score(answer, references, expected):
    assert terms.soft_score(answer, references) == pytest.approx(expected)


def test_answer_terms_read_the_trajectory():
    assert terms.accuracy(answering(" Halt. "), question(*TEN)) == pytest.approx(1 / 3)
    assert terms.soft(answering("shop"), question("stop")) == 0.75


@pytest.mark.parametrize("term", [terms.accuracy, terms.soft])
@pytest.mark.parametrize("reference", ["stop", "A"])
def test_no_answer_scores_nothing(term, reference):
    assert term(trajectory(), question(reference)) == 0.0
    assert term(trajectory("<think>stop</think>"), question(reference)) == 0.0
    assert term(answering("  "), question(reference)) == 0.0  # though "A" normalizes to nothing, too


@pytest.mark.parametrize(
    "turns",
    [
        ("<think>a</think><answer>b</answer>",),
        (" <think>\na\n</think>\n\n<answer>b\nc</answer>\n",),
        ("<think></think><answer></answer>",),
        ("<think>1 < 2 > 1, <b>bold</b></think><answer>x</answer>",),
        (CALL, "<think>now</think><answer>b</answer>"),
        (CALL, CALL + "\n", "<think>now</think> <answer>b</answer>"),
        ("<think>a</think><tool>not yaml</tool>", "<think>now</think><answer>b</answer>"),
    ],
)
def test_well_formed(turns):
    assert terms.well_formed(trajectory(*turns), question("b")) == 1.0


@pytest.mark.parametrize(
    "turns",
    [
        (),
        ("",),
        ("b",),
        ("<answer>b</answer>",),
        ("<think>a</think>",),
        ("<think>a</think><answer>b",),
        ("well <think>a</think><answer>b</answer>",),
        ("<think>a</think> so <answer>b</answer>",),
        ("<think>a</think><answer>b</answer> done",),
        ("<answer>b</answer><think>a</think>",),
        ("<think>a</think><answer>b</answer><answer>c</answer>",),
        ("<think>a<think>b</think><answer>c</answer>",),
        ("<think>a</think></think><answer>c</answer>",),
        ("<think>a <tool> b</think><answer>c</answer>",),
        ("<think>a</think><answer>b</tool></answer>",),
        ("<THINK>a</THINK><answer>b</answer>",),
        (CALL,),
        (CALL + "<answer>b</answer>",),
        (CALL, CALL),
        ("<think>a</think><answer>b</answer>", "<think>a</think><answer>b</answer>"),
        (CALL + "!", "<think>a</think><answer>b</answer>"),
        (CALL, "<answer>b</answer>"),
    ],
)
def test_malformed(turns):
    assert terms.well_formed(trajectory(*turns), question("b")) == 0.0


@pytest.mark.parametrize(
    ("events", "expected"),
    [((), 0.0), (("ok",), 1.0), (("bad_yaml",), 0.0), (("bad_yaml", "ok"), 1.0), (("ok", "ok"), 1.0)],
)
def test_tool_pays_once_and_only_for_executed_calls(events, expected):
    assert terms.tool(trajectory("x", events=events), question("b")) == expected


@pytest.mark.parametrize(
    ("answer", "events", "expected"),
    [("stop", ("ok",), 1.0), ("halt", ("ok",), 1.0), ("walk", ("ok",), 0.0), ("stop", ("bad_yaml",), 0.0)],
)
def test_tool_if_correct(answer, events, expected):
    turn = f"<think>now</think><answer>{answer}</answer>"
    assert terms.tool_if_correct(trajectory(CALL, turn, events=events), question(*TEN)) == expected


def test_overlong_turns_by_hand():
    """Turns of at most 10 tokens, of which the last 4 cost: the longest turn counts, and what was shown does not."""
    for lengths, expected in ([], 0), ([6], 0), ([7], 0.25), ([9], 0.75), ([10], 1), ([12], 1), ([3, 8, 2], 0.5):
        long = trajectory()
        long.turn_lengths += lengths
        assert terms.Overlong(tokens=10, cache=4)(long, question("x")) == expected
    with pytest.raises(UserError, match=r"overlong\.cache=11: must be a whole number from 1 to 10"):
        terms.Overlong(tokens=10, cache=11)
