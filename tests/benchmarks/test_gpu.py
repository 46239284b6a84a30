"""benchmarks/gpu.py: its parts on the miniature, and what becomes of parts that are done, fail or take too long."""

import importlib
import json
import subprocess
from types import SimpleNamespace

import pytest

from loupe.paths import PROJECT

LORA = ["model=tiny", "model.lora={r: 4, alpha: 8}", "model.train_vision=false", "trainer.precision=bf16-mixed"]


@pytest.fixture
def kit(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    gpu, parts = (importlib.import_module(name) for name in ("gpu", "gpu_parts"))
    return SimpleNamespace(gpu=gpu, parts=parts, patch=monkeypatch.setattr)


def test_every_part_is_there_and_its_settings_compose(kit):
    for part in kit.gpu.PARTS.values():
        assert part.function in kit.parts.PARTS
        for settings in (part.gpu, part.cpu):
            if isinstance(settings, dict):
                kit.parts.step.configured(*settings.get("overrides", ()))
    assert kit.gpu.settings_here(kit.gpu.PARTS["7b, 1024 px"]) == kit.gpu.NO_CUDA


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_engine_is_as_close_to_the_plain_path_as_it_should_be(kit, precision):
    found = kit.parts.exact(precision, questions=1, group=2)
    assert found["engine"].keys() >= {"largest gap", "gradient"}
    found["engine"]["gradient"] = 1.0
    with pytest.raises(ValueError, match=r"^gradient: 1 from the plain path in float32, but 0\.\d+ is allowed"):
        kit.parts.require_close(found)


def test_a_whole_step(kit):
    found = kit.parts.large_step([*LORA, "algorithm.group_size=2", "trainer.max_steps=2"], tokens=40)
    assert (found["picture tokens"], found["crop tokens"]) == (12, 16)
    assert found["adapters changed"] == 1 and found["grad_norm"] > 0
    assert found["seconds"].keys() == set(kit.gpu.PHASES) and min(found["seconds"].values()) > 0
    assert sum(found["share"].values()) == pytest.approx(1)
    assert "a step  " in kit.gpu.table({"a step": {"found": found, "took": 2}, "another": {"left out": "no time"}})
    with pytest.raises(ValueError, match=r"^tokens=8: must be \d+ or more"):
        kit.parts.large_step([*LORA, "algorithm.group_size=2"], tokens=8)


def test_parts_resume_and_a_failed_part_stays_failed(kit, tmp_path, capsys):
    out, runs = tmp_path / "gpu.json", []

    def run(function, settings):
        runs.append(settings["number"])
        return {"failed": "no memory"} if settings["number"] == 1 else {"found": {"seen": settings["number"]}}

    kit.patch(kit.gpu, "run", run)
    kit.patch(kit.gpu, "PARTS", {f"part {n}": kit.gpu.Part("f", {"number": n}, {"number": n}) for n in range(3)})
    kit.gpu.main([f"out={out}", "part=part 2"])
    kit.gpu.main([f"out={out}"])
    assert runs == [2, 0, 1]
    assert list(json.loads(out.read_text())) == ["part 0", "part 1", "part 2"]
    kit.gpu.main([f"out={out}"])
    assert runs == [2, 0, 1] and "failed: no memory" in capsys.readouterr().out
    kit.gpu.main([f"out={out}", "part=part 1"])
    assert runs == [2, 0, 1, 1]
    with pytest.raises(SystemExit, match="give part=<name> and out=<file>; parts: part 0; part 1; part 2"):
        kit.gpu.main(["part=4"])


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "expected"),
    [
        (0, 'noise\n{"GiB": 2.5}\n', "a warning", {"found": {"GiB": 2.5}}),
        (1, "", "Traceback ..\ntorch.OutOfMemoryError: CUDA\n\n", {"failed": "torch.OutOfMemoryError: CUDA"}),
        (-9, "", "", {"failed": "killed by signal 9; the machine may be out of memory"}),
    ],
)
def test_what_becomes_of_a_process(kit, code, stdout, stderr, expected):
    assert kit.gpu.outcome(subprocess.CompletedProcess([], code, stdout, stderr)) == expected


def test_a_part_that_takes_too_long_is_stopped(kit):
    kit.patch(kit.gpu, "SECONDS", 0.01)
    record = kit.gpu.run("environment", {})
    assert record["failed"] == "took longer than 0.01 s" and record["took"] < 5


@pytest.mark.slow
def test_a_whole_run(kit):
    """By commands: training, Ctrl-C, resuming, evaluation."""
    record = kit.gpu.run("whole_run", kit.gpu.PARTS["3b, a whole run"].cpu)
    assert 12 <= record["found"]["steps before the interrupt"] < 24
    reward = record["found"]["reward"]
    assert reward["last"] > 0.7 and reward["evaluated"] == pytest.approx(reward["last"], abs=0.1)
    with pytest.raises(RuntimeError, match="not learned, or not saved"):
        kit.parts.whole_run([*kit.gpu.PARTS["3b, a whole run"].cpu["overrides"], "algorithm.optimizer.lr=0"], steps=4)


@pytest.mark.slow
def test_a_whole_step_of_the_3b_shape_on_a_cpu(kit):
    """Two of them: 36 layers in bfloat16, an adapter, random weights. Takes 11 GiB and seven minutes on one core."""
    record = kit.gpu.run("large_step", kit.gpu.PARTS["3b, 448 px"].cpu)
    found = record["found"]
    assert abs(found["loss"]) < 10 and found["grad_norm"] > 0 and found["adapters changed"] == 1
    assert found["GiB"] + found["GiB before the model"] < 24
    assert found["GiB"] == pytest.approx(found["GiB computed"], rel=0.15)
