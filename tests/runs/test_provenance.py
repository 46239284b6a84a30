import json

from omegaconf import OmegaConf

from loupe.runs.config import command_line
from loupe.runs.provenance import write_provenance


def test_what_is_written(tmp_path):
    write_provenance(OmegaConf.create({"crop": 400, "tool": {"crop": "${crop}"}}), tmp_path)
    assert OmegaConf.load(tmp_path / "config.yaml") == {"crop": 400, "tool": {"crop": 400}}
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["command"] == f"{command_line()} paths.output_dir={tmp_path}"
    assert set(provenance["versions"]) >= {"torch", "transformers", "lightning", "wandb"}
