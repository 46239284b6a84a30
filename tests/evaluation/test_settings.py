import json

import pytest
from conftest import compose_config

from loupe.errors import UserError
from loupe.evaluation.settings import claim, line, settings, weights


def stated(*overrides):
    return settings(compose_config("data.n_test=3", "paths.output_dir=x", *overrides, name="evaluate"), factor=28)


def test_settings_state_what_results_depend_on():
    found = stated("resolution=224", "tool.output_size=112")
    assert found["most_pixels"] == {"overview": 224**2, "crop": 112**2}
    assert (found["crop"], found["precision"], found["rollout"]["temperature"]) == (400, "32-true", 1.0)
    assert found["evaluate"]["known"]["sampled"]["samples"] == 4
    assert "resolution 224 (at most 50,176 pixels a picture), crop 400" in line(found)
    assert stated("tool=none")["most_pixels"]["crop"] == 112**2
    assert stated("resolution=1024")["most_pixels"]["overview"] == 1036**2  # on the patch grid


@pytest.mark.parametrize(
    ("override", "named"),
    [("crop=300", "crop, tool"), ("seed=1", "seed, data, rollout"), ("evaluate.samples=2", "evaluate")],
)
def test_answers_given_under_other_settings_are_kept_apart(tmp_path, override, named):
    claim(tmp_path, stated())
    claim(tmp_path, stated(override))  # nothing has been answered yet
    claim(tmp_path, stated())
    (tmp_path / "answers.jsonl").touch()
    claim(tmp_path, stated("data.eval_batch_size=2", "evaluate.conditions=[greedy,direct]", "evaluate.resamples=9"))
    with pytest.raises(UserError, match=rf"given under other settings \({named}\); choose another folder"):
        claim(tmp_path, stated(override))


def test_other_weights_in_the_same_folder_are_noticed(tmp_path):
    assert weights(None) == weights("owner/name") == {}
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"abc")
    before = weights(str(tmp_path))
    assert before["model.safetensors"][0] == 3
    file.write_bytes(b"abcd")
    assert weights(str(tmp_path)) != before
    assert json.loads(json.dumps(before)) == before


def test_conditions_may_be_added_but_not_changed(tmp_path):
    claim(tmp_path, stated())
    (tmp_path / "answers.jsonl").touch()
    claim(tmp_path, stated("+evaluate.known.mine={tool: false}"))
    claim(tmp_path, stated())
    with pytest.raises(UserError, match=r"other settings \(evaluate\)"):
        claim(tmp_path, stated("evaluate.known.direct.tool=true"))


def test_answers_of_another_commit_are_named(tmp_path, caplog):
    earlier = stated() | {"commit": "abc"}
    claim(tmp_path, earlier)
    (tmp_path / "answers.jsonl").touch()
    assert claim(tmp_path, stated())["commit"] == "abc"
    assert "holds answers given by commit abc" in caplog.text
