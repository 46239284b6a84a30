import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.boxes import GENERALIZATION, VLM_R1

ADAPTER = {"setting/experiment": "generalization", "setting/seed": 1, "setting/model.lora": "{r: 8}"}
TRAINED = [
    {"job": "a1", "setting/experiment": "generalization", "setting/seed": 1},
    {"job": "a2", "setting/experiment": "generalization", "setting/seed": 2},
    {"job": "k1", "setting/experiment": "generalization", "setting/seed": 1, "setting/algorithm.loss.beta": 0.04},
    {"job": "l1"} | ADAPTER,
    {"job": "l2", "setting/algorithm.optimizer.lr": 0.001} | ADAPTER,
    {"job": "s1", "setting/experiment": "generalization_sft", "setting/seed": 1},
    {"job": "s5", "setting/experiment": "generalization_sft", "setting/seed": 1, "setting/epochs": 5},
]


def asked(path, iou, **settings):
    row = {"job": f"{path}{settings}", "setting/experiment": "generalization_judged", "setting/seed": 0}
    row |= {"setting/model.path": path, "greedy/iou/all": iou, "greedy/score/all": iou / 2}
    return row | {f"setting/{key}": value for key, value in settings.items()}


ASKED = {"a1": 0.7, "a2": 0.5, "k1": 0.6, "l2": 0.75, "l1": 0.55}
ROWS = [
    asked("outputs/generalization/s5/model", 0.9),
    *(asked(f"outputs/generalization/{job}/model", iou) for job, iou in ASKED.items()),
    asked("outputs/generalization/a1/model", 0.3, **{"data.canvas": "[2400,1800]"}),
    asked("outputs/generalization/s1/model", 0.4, **{"data.n_signs": "[4,4]", "data.clutter": 12}),
    asked("src/loupe/models/miniature_boxes", 0.2),
    asked("src/loupe/models/miniature_boxes", 0.1, resolution=168),
]


@pytest.fixture
def found(tmp_path):
    pandas.DataFrame([*TRAINED, *ROWS]).to_csv(tmp_path / "results.csv", index=False)
    return GENERALIZATION.judged(pandas.read_csv(tmp_path / "results.csv", dtype={"job": str}))


def test_each_policy_has_its_method_and_each_evaluation_its_kind_of_pictures(found):
    rows = found[["method", "kind", "iou", "score"]].values.tolist()
    assert rows == [
        ["base", "as in training", 0.2, 0.1],
        ["base", "shown larger", 0.1, 0.05],
        ["GRPO", "as in training", 0.7, 0.35],
        ["GRPO", "larger canvas", 0.3, 0.15],
        ["GRPO", "as in training", 0.5, 0.25],
        ["GRPO, KL", "as in training", 0.6, 0.3],
        ["GRPO, adapter", "as in training", 0.55, 0.275],
        ["GRPO, adapter, higher rate", "as in training", 0.75, 0.375],
        ["supervised", "more signs", 0.4, 0.2],
        ["supervised, five passes", "as in training", 0.9, 0.45],
    ]


def test_means_over_the_runs(found):
    shown = GENERALIZATION.means(found)
    assert list(shown) == ["as in training", "larger canvas", "more signs", "shown larger", "runs"]
    assert shown.loc["GRPO"].tolist()[:2] == pytest.approx([0.6, 0.3])
    assert list(shown.runs) == [1, 2, 1, 1, 1, 1, 1]


def test_every_run_is_a_dot(found):
    (axes,) = GENERALIZATION.figure(found).axes
    assert sorted(y for line in axes.lines for y in line.get_ydata()) == sorted(found.iou)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(dict.fromkeys(found.method))


@pytest.mark.parametrize("missing", ["setting/model.path", "greedy/iou/all"])
def test_a_table_without_evaluations_of_boxes(missing):
    with pytest.raises(UserError, match=f"no column {missing}"):
        GENERALIZATION.judged(pandas.DataFrame(TRAINED + ROWS).drop(columns=missing))


def test_an_evaluation_without_a_model_of_its_own_is_of_the_base():
    default = asked(None, 0.3)
    found = GENERALIZATION.judged(pandas.DataFrame([*TRAINED, *ROWS, default]))
    assert ["base", 0.3] in found[["method", "iou"]].values.tolist()


def test_asked_as_they_were_trained():
    """Two bases, a run that was made to answer at once, and a control; sampled answers."""
    trained = [
        {"job": "g", "setting/experiment": "vlm_r1", "setting/tool": "none"},
        {"job": "n", "setting/experiment": "[vlm_r1,no_thinking]", "setting/tool": "none"},
        {"job": "0", "setting/experiment": "vlm_r1", "setting/tool": "none", "setting/algorithm.optimizer.lr": 0.0},
        {"job": "s", "setting/experiment": "vlm_r1", "setting/tool": "none", "setting/algorithm.optimizer.lr": 3e-4},
    ]
    judged = [
        ("g", "vlm_r1_judged", "none", 0.7),
        ("n", "[vlm_r1_judged,no_thinking]", "none", 0.5),
        ("0", "vlm_r1_judged", "none", 0.4),
        ("s", "vlm_r1_judged", "none", 0.6),
        (None, "vlm_r1_judged", "zoom", 0.3),
    ]
    rows = [
        {
            "job": f"judged {number}",
            "setting/model.path": job and f"outputs/vlm_r1/{job}/model",
            "setting/experiment": experiment,
            "setting/tool": tool,
            "sampled/iou/all": iou,
            "sampled/score/all": iou,
        }
        for number, (job, experiment, tool, iou) in enumerate(judged)
    ]
    table = pandas.DataFrame([row | {"setting/seed": 111} for row in trained] + rows)
    assert VLM_R1.judged(table, "sampled")[["method", "kind", "iou"]].values.tolist() == [
        ["base", "with the tool", 0.3],
        ["GRPO", "without the tool", 0.7],
        ["GRPO", "without thinking", 0.5],
        ["GRPO", "without the tool", 0.6],
        ["learning rate 0", "without the tool", 0.4],
    ]
