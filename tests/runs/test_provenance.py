import json
import subprocess

from omegaconf import OmegaConf

from loupe.runs import provenance
from loupe.runs.config import command_line
from loupe.runs.provenance import write_provenance


def test_what_is_written(tmp_path):
    write_provenance(OmegaConf.create({"crop": 400, "tool": {"crop": "${crop}"}}), tmp_path)
    assert OmegaConf.load(tmp_path / "config.yaml") == {"crop": 400, "tool": {"crop": 400}}
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["command"] == f"{command_line()} paths.output_dir={tmp_path}"
    assert set(provenance["versions"]) >= {"torch", "transformers", "lightning", "wandb"}


def test_the_patch_leaves_secrets_out_and_names_them(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(provenance, "PROJECT", tmp_path)
    (tmp_path / "deploy").mkdir()
    names = [".env", "deploy/Server.PEM", "deploy/secrets.yaml", "code.py"]
    for content in ("old", "new"):
        for name in names:
            (tmp_path / name).write_text(f"{content}\n")
        if content == "old":
            person = ["-c", "user.name=a", "-c", "user.email=a@b"]
            for command in (["init", "-q"], ["add", "-A"], [*person, "commit", "-qm", "x"]):
                subprocess.run(["git", "-C", tmp_path, *command], check=True)
    (tmp_path / "out").mkdir()
    write_provenance(OmegaConf.create({}), tmp_path / "out")
    patch = (tmp_path / "out" / "diff.patch").read_text()
    assert "code.py" in patch and not any(name in patch for name in names[:3])
    assert all(name in caplog.text for name in names[:3]) and "code.py" not in caplog.text
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["uncommitted"]
