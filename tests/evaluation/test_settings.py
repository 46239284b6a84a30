import json

from conftest import compose_config

from loupe.evaluation.settings import answer_settings, settings_line, weights


def stated(*overrides):
    return answer_settings(
        compose_config("data.n_test=3", "paths.output_dir=x", *overrides, name="evaluate"), factor=28
    )


def test_settings_state_what_results_depend_on():
    found = stated("resolution=224", "tool.zoom.output_size=112")
    assert found["most_pixels"] == {"overview": 224**2, "crop": 112**2}
    assert (found["crop"], found["precision"], found["rollout"]["temperature"]) == (400, "32-true", 1.0)
    assert found["evaluate"]["known"]["sampled"]["samples"] == 4
    assert "resolution 224 (at most 50,176 pixels per picture), crop 400" in settings_line(found, ["greedy"])
    assert "k =" not in settings_line(found, ["greedy"])
    assert "greedy or k = 4 at temperature 1.0, seed" in settings_line(found, ["greedy", "sampled"])
    assert stated("tool=none")["most_pixels"]["crop"] == 112**2
    assert stated("resolution=1024")["most_pixels"]["overview"] == 1036**2  # on the patch grid


def test_other_weights_in_the_same_folder_are_noticed(tmp_path):
    assert weights(None) == weights("owner/name") == {}
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"abc")
    before = weights(str(tmp_path))
    assert before["model.safetensors"][0] == 3
    file.write_bytes(b"abcd")
    assert weights(str(tmp_path)) != before
    assert json.loads(json.dumps(before)) == before
