import pytest
from conftest import ANSWER, NO_TOOL, compose_config, examples, make_rollout, zoom_tools
from omegaconf import OmegaConf

from loupe.data.datamodule import LoupeDataModule
from loupe.data.signs import Signs
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.evaluation.conditions import Condition, conditions, questions
from loupe.evaluation.crops import Recropped
from loupe.records import Example
from loupe.rewards.composite import CompositeReward
from loupe.rewards.terms import accuracy

REWARD = CompositeReward({"accuracy": accuracy}, {"accuracy": 1.0}, shaping=[])
KNOWN = OmegaConf.to_container(compose_config(name="evaluate").evaluate.known, resolve=True)


def builder(policy, tools=None):
    def build(settings):
        box = tools or zoom_tools()
        boxes = {True: box, False: NO_TOOL, "described": box.described()}
        rollout = make_rollout(policy, tools=boxes[settings["tool"]])
        for key, value in settings["prompt"].items():
            setattr(rollout.dialogue, key, value)
        return rollout

    return build


def names(made):
    return [condition.name for condition in made]


def test_every_condition_of_the_configuration(shared_policy):
    made = conditions(list(KNOWN), KNOWN, Signs("test", 0, 2), builder(shared_policy))
    assert [(c.name, c.samples, c.rollout.dialogue.tools.max_calls) for c in made] == [
        ("greedy", None, 1),
        ("sampled", 4, 1),
        ("no_tool", None, 0),
        ("described", None, 1),
        ("shuffled", None, 1),
        ("blank", None, 1),
        ("noise", None, 1),
        ("direct", None, 0),
        ("zoom_first", None, 1),
        ("textcot", None, 1),
    ]
    assert [c.name for c in made if isinstance(c.examples, Recropped)] == ["shuffled", "blank", "noise"]
    assert [c.name for c in made if c.rollout.dialogue.tools.forbidden_tag] == ["described"]
    assert names(conditions("direct", KNOWN, Signs("test", 0, 2), builder(shared_policy))) == ["direct"]
    assert [c.name for c in made if c.first] == ["textcot"]
    direct, zoom_first, textcot = made[-3:]
    assert direct.rollout.dialogue.prefill == "<answer"
    assert zoom_first.rollout.dialogue.prefill.endswith("<tool>\nname: zoom\nkeypoint: [")
    assert textcot.rollout.dialogue.user.endswith("{question} First describe the picture in one sentence.")


def test_what_cannot_differ_is_left_out(shared_policy, caplog):
    without = builder(shared_policy, tools=NO_TOOL)
    made = conditions(list(KNOWN), KNOWN, Signs("test", 0, 2), without)
    assert names(made) == ["greedy", "sampled", "direct"]
    for name in ("zoom_first", "textcot", "shuffled", "blank", "noise"):
        assert f"condition {name}: omitted because there is no tool to call" in caplog.text
    assert "condition described: omitted because it is the same as an earlier one" in caplog.text
    assert "condition no_tool: omitted because it is the same as an earlier one" in caplog.text
    alone = conditions(["greedy", "shuffled"], KNOWN, Signs("test", 0, 1), builder(shared_policy))
    assert names(alone) == ["greedy"]
    same = [Example(str(i), b"one", "?", ("7",)) for i in range(3)]
    assert names(conditions(["greedy", "shuffled"], KNOWN, same, builder(shared_policy))) == ["greedy"]
    assert "no other picture" in caplog.text
    uncalled = KNOWN | {"mine": {"tool": "described", "crops": "blank"}}
    assert names(conditions(["mine", "greedy"], uncalled, same, builder(shared_policy))) == ["greedy"]
    unsampled = KNOWN | {"sampled": {"samples": 0}}
    assert names(conditions(["sampled", "greedy"], unsampled, Signs("test", 0, 2), without)) == ["greedy"]


def test_nothing_to_ask_under(shared_policy):
    for asked in ([], ["sampled"]):
        with pytest.raises(UserError, match="no condition is left"):
            conditions(asked, KNOWN | {"sampled": {"samples": 0}}, Signs("test", 0, 2), builder(shared_policy))


@pytest.mark.parametrize("asked", [None, 5, {"greedy": {}}])
def test_conditions_are_a_list(shared_policy, asked):
    with pytest.raises(UserError, match=r"evaluate\.conditions=.*: must be a list of conditions, such as \[greedy\]"):
        conditions(asked, KNOWN, Signs("test", 0, 2), builder(shared_policy))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "no condition mine; there are greedy"),
        ({"tol": False}, r"evaluate\.known\.mine\.tol: unknown; known are crops, first, prompt, samples, tool"),
        ({"tool": "zoom"}, r"evaluate\.known\.mine\.tool=zoom: must be one of true, false, described"),
        ({"crops": "none"}, r"evaluate\.known\.mine\.crops=none: must be one of own, shuffled, blank, noise"),
        ({"first": "think"}, r"evaluate\.known\.mine\.first=think: must be one of null, call, answer"),
        (
            {"first": "call", "prompt": {"prefill": "<think>x</think>\n"}},
            r"evaluate\.known\.mine: first=call needs a thought that the policy ends; end prompt\.prefill within it",
        ),
        ({"samples": -1}, r"evaluate\.samples=-1"),
        ({"prompt": 5}, r"evaluate\.known\.mine\.prompt=5: must be a group of settings, such as"),
        (5, r"evaluate\.known\.mine=5: must be a group of settings; \{\} for the defaults"),
    ],
)
def test_bad_conditions(shared_policy, settings, message):
    known = KNOWN | ({"mine": settings} if settings else {})
    with pytest.raises(UserError, match=message):
        conditions(["mine"], known, Signs("test", 0, 2), builder(shared_policy))


def test_what_follows_the_first_thought(shared_policy):
    known = {"calls": {"first": "call"}, "answers": {"first": "answer"}, "any": {}}
    made = conditions(list(known), known, Signs("test", 0, 2), builder(shared_policy, zoom_tools()))
    assert [condition.first for condition in made] == ["tool", "answer", None]


def test_a_prefill_is_part_of_the_first_turn(shared_policy):
    rollout = make_rollout(shared_policy, ScriptedRollout, script=[["20, 40]\n</tool>", ANSWER], ["x</tool>", ANSWER]])
    rollout.dialogue.prefill = "<think>Look.</think>\n<tool>\nname: zoom\nkeypoint: ["
    (group,), _ = rollout(examples(1), 2, step=0)
    well_aimed, malformed = group.trajectories
    assert well_aimed.turns == ["<think>Look.</think>\n<tool>\nname: zoom\nkeypoint: [20, 40]\n</tool>", ANSWER]
    assert well_aimed.events[0].box and not malformed.events[0].box
    tokenizer = shared_policy.tokenizer
    assert tokenizer.decode(group.prompt.ids).endswith("assistant\n" + rollout.dialogue.prefill)
    first = well_aimed.sampled.index(0)
    assert tokenizer.decode(well_aimed.ids[:first]).startswith("20, 40]\n</tool>")  # only that was sampled


def test_questions():
    data = LoupeDataModule(None, Signs("val", 0, 3), Signs("test", 0, 5), 1, 1, 0)
    assert [len(questions(data, split, n)) for split, n in [("val", None), ("test", 2), ("test", 9)]] == [3, 2, 5]
    with pytest.raises(UserError, match="this data set has no such split; it has val, test"):
        questions(data, "train", None)


def test_answers_do_not_depend_on_the_batch_and_broken_rows_are_told(shared_policy):
    rows = [examples(1)[0], Example("broken", b"none", "?", ("1",)), *examples(3)[1:]]
    condition = Condition("sampled", make_rollout(shared_policy, max_new_tokens=3), rows, samples=2)
    outcomes = [outcome for batch in condition.answer([0, 1, 2, 3], 2, REWARD) for outcome in batch]
    assert [outcome.number for outcome in outcomes] == [0, 1, 2, 3]
    assert [len(outcome.rows) for outcome in outcomes] == [2, 0, 2, 2]
    assert outcomes[1].skipped.startswith("broken:") and outcomes[0].skipped is None
    assert outcomes[0].rows[0]["term/accuracy"] == 0.0
    (some,) = condition.answer([3, 1], 4, REWARD)
    assert some == [outcomes[3], outcomes[1]]
