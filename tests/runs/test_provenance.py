import json
import subprocess

import pytest
from omegaconf import OmegaConf

from loupe.runs import provenance
from loupe.runs.config import command_line
from loupe.runs.provenance import write_patch, write_provenance
from loupe.runs.resume import record_part


def test_what_is_written(tmp_path):
    write_provenance(OmegaConf.create({"crop": 400, "tool": {"crop": "${crop}"}}), tmp_path)
    assert OmegaConf.load(tmp_path / "config.yaml") == {"crop": 400, "tool": {"crop": 400}}
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["command"] == f"{command_line()} paths.output_dir={tmp_path}"
    assert set(provenance["versions"]) >= {"torch", "transformers", "lightning", "wandb"}


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """The project is a folder with uncommitted changes, some of them to secrets; returns the names of its files."""
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
    return names


def test_the_patch_leaves_secrets_out_and_names_them(tmp_path, changed, caplog):
    write_provenance(OmegaConf.create({}), tmp_path / "out")
    patch = (tmp_path / "out" / "diff.patch").read_text()
    assert "code.py" in patch and not any(name in patch for name in changed[:3])
    assert all(name in caplog.text for name in changed[:3]) and "code.py" not in caplog.text
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["uncommitted"]


def test_the_provenance_of_results_that_are_kept_stays(tmp_path, changed):
    out = tmp_path / "out"
    write_provenance(OmegaConf.create({"crop": 300}), out, goes_on=True)  # nothing is known about them
    before = {name: (out / name).read_text() for name in ("provenance.json", "diff.patch")}
    (tmp_path / "code.py").write_text("old\n")
    write_provenance(OmegaConf.create({"crop": 400}), out, goes_on=True)
    assert {name: (out / name).read_text() for name in before} == before
    assert OmegaConf.load(out / "config.yaml") == {"crop": 400}
    write_provenance(OmegaConf.create({}), out)
    assert not (out / "diff.patch").exists()


def test_a_patch_that_ends_in_blank_lines_can_be_applied(tmp_path, changed):
    """Blank lines of context, and a file whose lines end as on Windows."""
    git, person = ["git", "-C", tmp_path], ["-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "code.py").write_bytes(b"one\r\n\r\n\n\n\n")
    subprocess.run([*git, *person, "commit", "-qam", "y"], check=True)
    (tmp_path / "code.py").write_bytes(b"two\r\n\r\n\n\n\n")
    assert write_patch(tmp_path / "out" / "diff.patch")
    subprocess.run([*git, "checkout", "-q", "."], check=True)
    subprocess.run([*git, "apply", "out/diff.patch"], check=True)
    assert (tmp_path / "code.py").read_bytes() == b"two\r\n\r\n\n\n\n"


def test_each_resumed_part_has_a_patch_of_its_own(tmp_path, changed):
    out, parts = tmp_path / "out", tmp_path / "out" / "parts.jsonl"
    write_provenance(OmegaConf.create({}), out)
    (tmp_path / "code.py").write_text("newer\n")
    record_part(out, 2, {})
    with parts.open("a") as file:
        file.write('{"step": 3, "sta')  # what a full disk left of a row
    (tmp_path / "code.py").write_text("old\n")
    record_part(out, 4, {})
    rows = [json.loads(line) for line in parts.read_text().splitlines()]
    assert [(row["step"], row["patch"]) for row in rows] == [(2, "diff-1.patch"), (4, None)]
    patches = {path.name: path.read_text() for path in out.glob("*.patch")}
    assert "+new\n" in patches.pop("diff.patch")
    assert "+newer\n" in patches["diff-1.patch"] and not any(name in patches["diff-1.patch"] for name in changed[:3])
    assert patches.keys() == {"diff-1.patch"}
