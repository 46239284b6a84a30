import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.thinking import figure, judged, means

TRAINED = pandas.DataFrame(
    [
        {"job": "t1", "setting/experiment": "thinking", "setting/seed": 1},
        {"job": "t2", "setting/experiment": "thinking", "setting/seed": 2},
        {"job": "s1", "setting/experiment": "[thinking,silent]", "setting/seed": 1},
        {
            "job": "c1",
            "setting/experiment": "thinking",
            "setting/seed": 1,
            "setting/algorithm.shuffle_advantages": True,
        },
        {"job": "z1", "setting/experiment": "thinking", "setting/seed": 1, "setting/algorithm.optimizer.lr": 0},
    ]
)
MEASURES = ("named", "right", "placed", "follows", "iou", "iou/named", "iou/silent")


def asked(path, condition, value):
    return {"job": path, "setting/model.path": path, "condition": condition} | dict.fromkeys(MEASURES, value)


THOUGHTS = pandas.DataFrame(
    [
        asked("outputs/thinking/z1/model", "greedy", 0.25),
        asked("outputs/thinking/s1/model", "greedy", 0.375),
        asked("outputs/thinking/t2/model", "greedy", 0.5),
        asked("outputs/thinking/t1/model", "greedy", 0.75),
        asked("outputs/thinking/t1/model", "silent", 0.125),
        asked("outputs/beside_base/model", "greedy", 0.0),
    ]
)


def test_policies_are_named_by_their_training():
    found = judged(THOUGHTS, TRAINED)
    assert found[["method", "condition", "iou"]].values.tolist() == [
        ["base", "greedy", 0.0],
        ["GRPO", "greedy", 0.75],
        ["GRPO", "silent", 0.125],
        ["GRPO", "greedy", 0.5],
        ["GRPO, not allowed to think", "greedy", 0.375],
        ["learning rate 0", "greedy", 0.25],
    ]
    shown = means(found, "greedy")
    assert list(shown) == list(MEASURES)
    assert shown.named.to_dict() == {
        **{"base": 0, "GRPO": 0.625},
        **{"GRPO, not allowed to think": 0.375, "learning rate 0": 0.25},
    }


def test_every_run_is_a_line_and_every_policy_a_dot():
    words = TRAINED.merge(pandas.DataFrame({"step": [5, 10], "words": [8.0, 12.0]}), how="cross")
    left, right = figure(words, judged(THOUGHTS, TRAINED)).axes
    assert [list(line.get_ydata()) for line in left.lines] == [[8, 12]] * 5
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        *("GRPO", "GRPO, not allowed to think", "shuffled advantages", "learning rate 0"),
    ]
    assert sorted(y for line in right.lines for y in line.get_ydata()) == sorted(THOUGHTS.iou)


def test_evaluations_that_name_no_model():
    with pytest.raises(UserError, match=r"no column setting/model\.path"):
        judged(THOUGHTS.drop(columns="setting/model.path"), TRAINED)
