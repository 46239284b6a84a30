import json

from omegaconf import OmegaConf

from loupe.runs.provenance import command_line, set_aside, write_provenance


def test_an_earlier_run_is_kept(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "metrics.jsonl").write_text(content)
        (tmp_path / "model").mkdir()
        (tmp_path / "notes.txt").write_text("mine")
        set_aside(tmp_path)
    assert (tmp_path / "previous-1" / "metrics.jsonl").read_text() == "first"
    assert (tmp_path / "previous-2" / "metrics.jsonl").read_text() == "second"
    assert (tmp_path / "previous-2" / "model").is_dir()
    assert (tmp_path / "notes.txt").exists()


def test_a_folder_in_which_nothing_ran_is_left_alone(tmp_path):
    (tmp_path / "config.yaml").write_text("crop: 400")
    assert set_aside(tmp_path) is None
    assert (tmp_path / "config.yaml").exists()


def test_what_is_written(tmp_path):
    write_provenance(OmegaConf.create({"crop": 400, "tool": {"crop": "${crop}"}}), tmp_path)
    assert OmegaConf.load(tmp_path / "config.yaml") == {"crop": 400, "tool": {"crop": 400}}
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["command"] == f"{command_line()} paths.output_dir={tmp_path}"
    assert set(provenance["versions"]) >= {"torch", "transformers", "lightning", "wandb"}
