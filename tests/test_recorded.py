"""The recorded studies that are sweeps: every row can be made again by what it says of itself."""

import csv
import itertools
import shlex
from pathlib import Path

import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from loupe.paths import CONF, PROJECT
from loupe.runs.sweeps import SAME_JOB, short_hash
from loupe.studies import plots as study_plots
from loupe.studies.tables import RECORDED, over_seeds, results, told

FILES = CONF / "experiment"
SWEEPS = [path.relative_to(FILES) for path in sorted(FILES.rglob("*.yaml")) if "params:" in path.read_text()]
FULL_SCALE = ("model=qwen2_5_vl_3b_lora", "data=textvqa")


def composed(experiment, *overrides):
    name = "evaluate" if str(experiment) == "resolution.yaml" else "train"
    return compose_config(f"experiment={experiment.with_suffix('')}", *overrides, name=name)


def study(experiment):
    return Path(composed(experiment).paths.output_dir).name


def rows(name):
    with (RECORDED / name / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def jobs(experiment):
    """The settings of every job of a sweep, as far as the experiment says them."""
    params = OmegaConf.load(FILES / experiment).hydra.sweeper.params
    values = [[(key, value) for value in str(choices).split(",")] for key, choices in params.items()]
    return [dict(job) for job in itertools.product(*values)]


def leaves(node, prefix=""):
    for key, value in node.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


@pytest.mark.parametrize("experiment", SWEEPS, ids=str)
def test_every_job_composes_and_has_what_the_file_says(experiment):
    said = OmegaConf.to_container(OmegaConf.load(FILES / experiment))
    said = {key: value for key, value in said.items() if key not in ("defaults", "hydra", "paths")}
    every = jobs(experiment)
    for job, scale in [(every[0], FULL_SCALE), *((job, ()) for job in every)]:
        cfg = composed(experiment, *scale, *(f"{key}={value}" for key, value in job.items()))
        assert cfg.data.heldout_seed == 3
        for key, value in leaves(said):
            if key not in job and "$" not in str(value):
                assert OmegaConf.select(cfg, key) == value, key


@pytest.mark.parametrize("experiment", SWEEPS, ids=str)
def test_every_job_is_recorded(experiment):
    recorded = rows(study(experiment))
    for job in jobs(experiment):
        asked = job | {"experiment": str(experiment.with_suffix(""))}
        assert any(asked.items() <= row.items() for row in recorded), asked


@pytest.mark.parametrize("name", sorted({study(experiment) for experiment in SWEEPS}))
def test_every_row_is_made_by_its_command(name):
    recorded = rows(name)
    assert len({row["job"] for row in recorded}) == len(recorded)
    for row in recorded:
        python, entry, multirun, *overrides = shlex.split(row["command"])
        assert (python, multirun) == ("python", "-m")
        named = sorted(override for override in overrides if override.partition("=")[0] not in SAME_JOB)
        assert row["job"] == short_hash(",".join(named))
        assert len(row["commit"]) == 40  # and no changes on top of it
        compose_config(*overrides, name=Path(entry).stem)


def test_resuming_a_job_of_a_study_goes_on_in_its_own_folder(tmp_path):
    assert compose_config("experiment=main", f"resume={tmp_path}").paths.output_dir == str(tmp_path)


@pytest.mark.parametrize("path", ["README.md", "experiments/main/README.md"])
def test_the_main_table_is_told_as_it_was_recorded(path):
    lines = (PROJECT / path).read_text().replace("*", "").splitlines()
    means = over_seeds(study_plots.conditions(results("main")), ["condition", "part"])
    for condition, rows in means.groupby("condition"):
        (line,) = (line for line in lines if line.startswith((f"| {condition} |", f"| {condition}: ")))
        assert [cell.strip() for cell in line.split("|")[2:5]] == [
            told(rows[rows.part == part].iloc[0]) for part in study_plots.parts(rows.part)
        ]
