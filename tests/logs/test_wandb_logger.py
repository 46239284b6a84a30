import json
import os
import signal
import subprocess
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import wandb
from conftest import compose_config
from helpers.wandb_files import exit_codes, finished
from hydra.utils import instantiate
from PIL import Image

from loupe.errors import UserError
from loupe.logs.history import offline_rows
from loupe.logs.wandb_logger import RunWandbLogger, has_api_key
from loupe.metrics.training import Histogram


def offline_run(folder: Path, score: float) -> None:
    logger = RunWandbLogger("offline", folder, "loupe", run_config={"seed": 3})
    logger.log_metrics({"score": score, "advantage/hist": Histogram([1, 2], [0.0, 1.0, 2.0])}, 5)
    rows = [["a", None], ["b", Image.new("RGB", (8, 8))]]
    logger.log_rows("trajectories", ["id", "picture"], rows, 5)
    logger.finalize("success")
    logger.finish()


def test_offline_runs_are_separate_and_hold_the_same_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    offline_run(tmp_path / "a", 0.25)
    offline_run(tmp_path / "b", 0.75)
    runs = {path: finished(path) for path in tmp_path.glob("?/wandb/offline-run-*/*.wandb")}
    assert sorted(offline_rows(path)[0]["score"] for path in runs) == [0.25, 0.75]
    assert len({path.name for path in runs}) == 2
    for path, run in runs.items():
        metrics, table = offline_rows(path)
        assert metrics["trainer/global_step"] == table["trainer/global_step"] == 5
        assert metrics["advantage/hist/values"] == [1, 2] and metrics["advantage/hist/bins"] == [0, 1, 2]
        assert table["trajectories/nrows"] == 2
        config = {update.key: update.value_json for r in run for update in r.run.config.update}
        assert config["seed"] == "3"
        # Charts run over the training step.
        assert {r.metric.step_metric for r in run if r.metric.glob_name == "*"} == {"trainer/global_step"}
        assert exit_codes(run) == [0]
    assert any(path.read_bytes()[:4] == b"\x89PNG" for path in tmp_path.glob("?/wandb/artifacts/staging/*"))
    assert not list((tmp_path / "home").rglob("staging"))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_offline_parts_of_a_resumed_run_are_one_run_to_wandb(tmp_path):
    """``wandb sync`` appends a part that says ``resume``, and uploads the parts of a run in order of their start."""
    for step in (5, 4, 6):  # the second part repeats a step that was logged after the checkpoint
        logger = RunWandbLogger("offline", tmp_path, "loupe")
        logger.log_metrics({"score": 0.5}, step)
        logger.finish()
    files = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    started = [(run.start_time.ToNanoseconds(), run.run_id, run.resume, path) for path in files for run in starts(path)]
    times, ids, resumed, paths = zip(*sorted(started), strict=True)
    assert len(set(times)) == 3 and len(set(ids)) == 1 and resumed == (False, True, True)
    assert [row["trainer/global_step"] for path in paths for row in offline_rows(path)] == [5, 4, 6]


def starts(path: Path) -> list:
    return [record.run for record in finished(path) if record.HasField("run")]


@pytest.mark.parametrize(
    ("parts", "given"),
    [
        ([], {}),
        (["run-20260102_000000-b/run-b.wandb"], {"id": "b", "resume": "allow"}),
        (
            ["run-20260101_000000-z/run-z.wandb", "offline-run-20260102_000000-a/run-a.wandb"],
            {"id": "a", "resume": "allow"},
        ),
    ],
)
def test_online_it_continues_the_run_whose_part_the_folder_holds(tmp_path, monkeypatch, parts, given):
    for part in parts:
        path = tmp_path / "moved" / "wandb" / part
        path.parent.mkdir(parents=True)
        path.touch()
    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **options: asked.update(options) or MagicMock())
    RunWandbLogger("online", tmp_path / "moved", "loupe").log_metrics({"score": 0.5}, 1)
    assert {key: asked[key] for key in ("id", "resume") if key in asked} == given


def test_a_table_grows_and_only_new_rows_are_written(tmp_path):
    logger = RunWandbLogger("offline", tmp_path, "loupe", tags=["pilot"], notes="why", entity="team")
    exact, large = Image.new("RGB", (256, 256)), Image.new("RGB", (256, 257))
    for step, rows in ((1, [["a", exact]]), (26, [["b", None], ["c", large]])):
        logger.log_rows("trajectories", ["id", "picture"], rows, step)
    logger.finish()
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    (start,) = starts(path)
    assert (list(start.tags), start.notes, start.entity) == (["pilot"], "why", "team")
    logged = offline_rows(path)
    assert [row["trajectories/nrows"] for row in logged] == [1, 3]
    assert [len(row["trajectories/previous_increments_paths"]) for row in logged] == [0, 1]
    tables = [json.loads((path.parent / "files" / row["trajectories/path"]).read_text())["data"] for row in logged]
    assert [[row[0] for row in table] for table in tables] == [["a"], ["b", "c"]]
    stored = [path.read_bytes()[:3] for path in tmp_path.glob("wandb/artifacts/staging/*")]
    assert sorted(start for start in stored if start[:1] != b"{") == [b"\x89PN", b"\xff\xd8\xff"]


@pytest.mark.parametrize("tags", ["pilot", [""], ["x" * 65], [3]])
def test_bad_tags(tmp_path, tags):
    with pytest.raises(UserError, match=r"^logger\.tags=.*: must be a list of texts of 1 to 64 characters"):
        RunWandbLogger("offline", tmp_path, "loupe", tags=tags)


def test_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("loupe.logs.wandb_logger.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^logger\.mode: wandb is not installed; pip install wandb, or choose logger=none"
    ):
        RunWandbLogger("offline", tmp_path, "loupe")
    RunWandbLogger("disabled", tmp_path, "loupe")


def test_a_failed_run_is_marked_as_failed(tmp_path):
    logger = RunWandbLogger("offline", tmp_path, "loupe")
    logger.log_metrics({"score": 0.5}, 1)
    logger.finalize("failed")
    logger.finish()
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert exit_codes(finished(path)) == [1]


@pytest.mark.parametrize("last", ["log_metrics", "log_rows", "finish"])
def test_a_run_survives_the_end_of_wandb(tmp_path, caplog, last):
    """Whatever is logged first after W&B's process has died; the next run in this process has W&B again."""
    logger = RunWandbLogger("offline", tmp_path / "lost", "loupe")
    logger.log_metrics({"score": 0.5}, 1)
    subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", "wandb-core"], check=True)
    if last == "log_metrics":
        logger.log_metrics({"score": 0.6}, 2)
    if last != "finish":
        logger.log_rows("trajectories", ["picture"], [[Image.new("RGB", (8, 8))]], 2)
    logger.log_metrics({"score": 0.7}, 3)
    logger.finalize("success")
    logger.finish()
    (warning,) = (record.message for record in caplog.records if record.name == "loupe.logs.wandb_logger")
    assert warning.endswith(f"the rest of this run is logged to {tmp_path / 'lost'} only")
    offline_run(tmp_path / "next", 0.25)
    (path,) = (tmp_path / "next").glob("wandb/offline-run-*/*.wandb")
    finished(path)  # W&B's process goes on writing for a moment
    assert offline_rows(path)[0]["score"] == 0.25


def test_disabled_writes_nothing_and_ends(tmp_path):
    for _ in range(2):
        logger = RunWandbLogger("disabled", tmp_path, "loupe")
        logger.log_metrics({"score": 0.5, "h": Histogram([1], [0.0, 1.0])}, 1)
        logger.log_rows("trajectories", ["id"], [["a"]], 1)
        logger.finish()
    assert not list(tmp_path.iterdir())


def test_unknown_mode(tmp_path):
    with pytest.raises(UserError, match=r"^logger\.mode=sometimes: must be one of auto, online, offline, disabled$"):
        RunWandbLogger("sometimes", tmp_path, "loupe")


def test_a_key_that_wandb_rejects_is_the_users_to_fix(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    logger = RunWandbLogger("online", tmp_path, "loupe")
    with pytest.raises(UserError, match=r"logger\.mode=online: WANDB_API_KEY invalid.*logger\.mode=offline"):
        logger.log_metrics({"score": 0.5}, 1)


NETRC = "machine {host}\n  login user\n  password secret\n"


@pytest.mark.parametrize(
    ("env", "netrc", "found"),
    [
        ({"WANDB_API_KEY": "k"}, None, True),
        ({}, None, False),
        ({}, NETRC.format(host="api.wandb.ai"), True),
        ({}, NETRC.format(host="github.com"), False),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, NETRC.format(host="wandb.example.org"), True),
        ({}, "machine machine", False),
    ],
)
def test_auto_is_online_where_there_is_a_key(tmp_path, monkeypatch, env, netrc, found):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (env | {"NETRC": str(tmp_path / "netrc")}).items():
        monkeypatch.setenv(name, value)
    if netrc is not None:
        (tmp_path / "netrc").write_text(netrc)
    assert has_api_key() is found
    assert RunWandbLogger("auto", tmp_path, "loupe").mode == ("online" if found else "offline")


def test_auto_obeys_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert RunWandbLogger("auto", tmp_path, "loupe").mode == "offline"


@pytest.mark.parametrize(
    ("group", "overrides", "mode"),
    [
        ("none", [], "disabled"),
        ("wandb", ["logger.mode=offline"], "offline"),
        ("wandb", ["logger.mode=online"], "online"),
        ("none", ["logger.mode=offline", "logger.group=seeds"], "offline"),
    ],
)
def test_configuration(tmp_path, group, overrides, mode):
    cfg = compose_config(f"logger={group}", *overrides, f"paths.output_dir={tmp_path}")
    (logger,) = instantiate(cfg.logger, run_config={"seed": 0}, _convert_="all")
    assert (logger.mode, logger.save_dir, logger.name) == (mode, str(tmp_path), "loupe")
