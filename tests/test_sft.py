"""src/sft.py, for a few steps, from the answers of a job and from a file; and what it is worth, at length."""

import json
import os
import shutil
import signal

import lightning
import pytest
import torch
from conftest import ANSWER, call, compose_config
from helpers.commands import lines
from helpers.recorded import data_of
from hydra import initialize_config_dir
from omegaconf import OmegaConf

import mine
import sft as entry
from loupe.data.signs import Signs
from loupe.errors import Interrupted, UserError
from loupe.models.load import load_policy
from loupe.pages.callback import Page
from loupe.paths import CONF
from loupe.sft.build import build

SMALL = [
    *("model=tiny_random", "trainer.enable_progress_bar=false", "logger=none", "threads=1", "rollout.max_new_tokens=4"),
    *("sft.module.warmup_steps=0", "sft.module.optimizer.lr=0.01"),
]
DATA = [
    "trainer.val_check_interval=2",
    "data.n_train=20",
    "data.n_val=1",
    "data.n_test=1",
    "data.batch_size=3",
    "data.eval_batch_size=3",
]


def sft(folder, *overrides):
    return entry.sft(compose_config(*SMALL, f"paths.output_dir={folder}", *overrides, name="sft"))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder of a job that answered ten training questions and one of the test, by a zoom, at once, and wrongly."""
    folder = tmp_path_factory.mktemp("job")
    cfg = compose_config("model=tiny_random", "seed=7", *DATA, f"paths.output_dir={folder}")
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    exchanges = [([call("[20, 40]"), ANSWER], ["ok"], 1.0), ([ANSWER], [], 1.0), (["<answer>9</answer>"], [], 0.0)]
    with (folder / "trajectories.jsonl").open("w") as file:
        for split, seed, count in (("train", 7, 10), ("test", 0, 1)):
            for example in (Signs(split, seed, count)[i] for i in range(count)):
                for sample, (turns, calls, score) in enumerate(exchanges):
                    row = {"id": example.id, "question": example.question, "condition": "sampled", "sample": sample}
                    row |= {"stop": "answered", "turns": turns, "calls": calls, "score": score}
                    file.write(json.dumps(row) + "\n")
    return folder


SETTINGS = ["min_score=1", "epochs=1", "heldout=0.1", *DATA, "seed=7"]


@pytest.fixture(scope="module")
def first(job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    return folder, sft(folder, f"traces={job}", *SETTINGS)


def test_a_run_from_the_answers_of_a_job(job, first):
    folder, summary = first
    assert summary["after"]["n"]["all"] == summary["before"]["n"]["all"] == 1
    rows = lines(folder / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 3 and losses[-1] < losses[0]
    for key in ("val/loss", "val/score/all"):
        assert [row["step"] for row in rows if key in row] == [0, 2, 3]
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    card = (folder / "model" / "README.md").read_text()
    assert f"| traces | {job}, with a score of at least 1 |" in card and "- sft\n" in card
    assert "| reward |" not in card and "reinforcement-learning\n" not in card
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    loaded = load_policy(str(folder / "model")).state_dict()
    assert all(loaded[name.removeprefix("policy.")].equal(tensor) for name, tensor in best.items())


def test_the_page_of_a_run(first, tmp_path):
    run = shutil.copytree(first[0], tmp_path / "run")
    (run / "provenance.json").write_text(
        json.dumps({"command": f"python src/sft.py paths.output_dir={run}", "commit": "a"})
    )
    hydra = {"job": {"name": "sft"}, "runtime": {"output_dir": str(run)}, "sweep": {"dir": str(tmp_path)}}
    (run / ".hydra").mkdir()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        Page().on_job_end(OmegaConf.create({"hydra": hydra}), None)
    found = data_of(run / "report.html")
    assert found["advantages"] is None and "Score on validation questions" in [
        chart["title"] for chart in found["charts"]
    ]
    assert [group["place"] for group in found["gallery"]["groups"]] == ["validation", "held-out"]
    assert "<code>min_score = 1</code>" in (run / "report.html").read_text()  # as against conf/sft.yaml
    Page().on_multirun_end(OmegaConf.create({"hydra": hydra}))
    assert '<a href="run/report.html">run</a>' in (tmp_path / "report.html").read_text()


def test_the_questions_are_those_of_the_job(job, caplog):
    """By its own settings of the data, whatever the present ones."""
    cfg = compose_config(*SMALL, f"traces={job}", "min_score=1", name="sft")
    module, data = build(cfg)
    assert cfg.data.seed == 7 and data.lessons.example().id == "signs/train/7/0"
    assert (len(data.lessons), len(data.heldout), module.total_steps) == (9, 1, 3 * 3)
    assert cfg.trainer.val_check_interval == 3
    assert "answers left out: 11 below min_score=1" in caplog.text
    assert "answers left out: 2 to questions of the test split" in caplog.text
    assert "other settings than" not in caplog.text
    build(compose_config(*SMALL, f"traces={job}", "crop=300", name="sft"))
    assert f"{job} was made with other settings than tool.zoom.crop=300" in caplog.text


def test_a_run_from_a_file_without_questions(tmp_path):
    """An adapter, whose weights are those after the last step, since no questions say which were best."""
    for i, example in enumerate(Signs("train", 0, 6)):
        example.image.render().resize((80, 60)).save(tmp_path / f"{i}.jpg")
    turns = [{"from": "human", "value": "<image>What number?"}, {"from": "gpt", "value": ANSWER}]
    rows = [{"image": f"{i}.jpg", "conversations": turns} for i in range(6)]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    few = ["data=none", "data.batch_size=2", "model.lora={r: 4, alpha: 8}", "heldout=0.34", "epochs=2"]
    summary = sft(tmp_path / "out", f"traces={tmp_path / 't.json'}", *few)
    assert summary["before"] == summary["after"] == {} and summary["best_val_score"] is None
    losses = [row["val/loss"] for row in lines(tmp_path / "out" / "metrics.jsonl") if "val/loss" in row]
    assert len(losses) == 3 and losses[-1] < losses[0]
    last = torch.load(tmp_path / "out" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert last and all("lora" in name for name in last)
    assert "## Scores" not in (tmp_path / "out" / "model" / "README.md").read_text()


def test_an_experiment_says_what_is_learned():
    cfg = compose_config("experiment=generalization_sft", name="sft")
    assert (cfg.traces, cfg.epochs, cfg.heldout, cfg.data.n_train) == ("references", 1, 0, 1600)
    assert cfg.reference_turn == "<think>I can see it.</think>\n<answer>{answer}</answer>"


class InterruptAfter(lightning.Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.global_step == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_from_reference_answers(tmp_path):
    settings = ["traces=references", "data=boxes", "model=tiny_random", "epochs=1", "heldout=0.2", *DATA]
    sft(tmp_path, *settings, 'reference_turn="<answer>{answer}</answer>"')
    losses = [row["loss"] for row in lines(tmp_path / "metrics.jsonl") if "loss" in row]
    assert len(losses) == 5 and losses[-1] < losses[0]  # 16 of 20 questions, three a step
    assert "| traces | references |" in (tmp_path / "model" / "README.md").read_text()


def test_it_resumes_bit_for_bit(job, first, tmp_path, monkeypatch):
    settings = [f"traces={job}", *SETTINGS]
    make = entry.build.build_trainer
    monkeypatch.setattr(entry.run, "_draw", lambda *_: None)  # to save time
    with monkeypatch.context() as patch:

        def with_interrupt(*arguments, **options):
            trainer = make(*arguments, **options)
            trainer.callbacks.append(InterruptAfter())
            return trainer

        patch.setattr(entry.build, "build_trainer", with_interrupt)
        with pytest.raises(Interrupted, match=r"stopped after step 1; to resume: python src/"):
            sft(tmp_path, *settings)
    sft(tmp_path, *settings, f"resume={tmp_path}")
    assert (tmp_path / "metrics.jsonl").read_text() == (first[0] / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "traces is empty; give a run's folder, a file with conversations, or references"),
        (["traces=nowhere"], "traces=nowhere: not there"),
        (["traces={folder}"], "holds no answers of a run, an evaluation or a mining"),
        (
            ["traces={folder}/t.json", "min_score=1"],
            "min_score=1: means nothing for a file with conversations; leave it out",
        ),
        (["traces={folder}/t.json", "splits=[val]"], r"splits=\['val'\]: means nothing for a file"),
        (["traces=references", "min_score=1"], "min_score=1: means nothing for traces=references; leave it out"),
        (["traces=references", "keep_system=true"], "keep_system=True: means nothing for traces=references"),
        (["traces={job}", "images=/tmp"], "images=/tmp: means nothing for answers of a job; leave it out"),
        (["traces=references", "reference_turn=hm"], "reference_turn='hm': must be text that contains"),
        (["traces=references", "data=none"], "data has no questions with a reference answer in train"),
        (["traces={job}", "trainer.max_steps=5"], "trainer.max_steps=5: epochs=3 decides that; set epochs=null"),
        (["traces={job}", "epochs=0"], "epochs=0: must be a whole number"),
        (["traces={job}", "epochs=null"], "trainer.max_steps=None: must be a whole number"),
        (["traces={job}", "sft.module.optimizer.lr=-1"], r"sft\.module\.optimizer: Invalid learning rate"),
        (["traces={job}", "sft.microbatch_tokens=0"], r"sft\.microbatch_tokens=0: must be"),
        (["traces={job}", "keep_system=maybe"], "keep_system=maybe: must be one of true, false"),
    ],
)
def test_bad_settings(job, tmp_path, overrides, message):
    (tmp_path / "t.json").write_text("[]")
    given = [override.format(job=job, folder=tmp_path) for override in overrides]
    with pytest.raises(UserError, match=message):
        sft(tmp_path / "out", *given)


@pytest.mark.slow
def test_the_miniature_learns_from_its_own_good_answers(tmp_path):
    """Greedy answers to held-out pictures improve by far; with a learning rate of next to nothing they do not."""
    few = ["logger=none", "threads=1", "trainer.enable_progress_bar=false"]
    sampled = ["tool=zoom", "data.n_train=300", "evaluate.samples=4", f"paths.output_dir={tmp_path / 'mined'}"]
    mine.mine(compose_config(*few, *sampled, name="mine"))
    learned = [*few, f"traces={tmp_path / 'mined'}", "min_score=1", "data.n_train=300", "epochs=4"]
    gains = {}
    for rate in ("1e-4", "1e-9"):
        given = [*learned, f"sft.module.optimizer.lr={rate}", f"paths.output_dir={tmp_path / rate}"]
        summary = entry.sft(compose_config(*given, name="sft"))
        gains[rate] = summary["after"]["score"]["all"]["mean"] - summary["before"]["score"]["all"]["mean"]
    assert gains["1e-4"] > 0.2 and abs(gains["1e-9"]) < 0.02
