"""The recorded studies that are sweeps: every row can be made again from what it says of itself."""

import csv
import itertools
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from conftest import compose_config
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from loupe.paths import CONF, PROJECT
from loupe.runs.config import SAME_JOB, instantiate
from loupe.runs.sweeps import SETTING, short_hash
from loupe.studies import plots as study_plots
from loupe.studies.tables import RECORDED, over_seeds, results, score_text

FILES = CONF / "experiment"
SWEEPS = [path.relative_to(FILES) for path in sorted(FILES.rglob("*.yaml")) if "params:" in path.read_text()]
HELDOUT_SEED = {
    "miniature": 2,
    "vlm_r1": 2,
    "where": 5,
    "cures": 6,
    "med": 8,
    "mix": 10,
    "interface": 11,
    "generalization": 12,
    "algorithms": 13,
    "train_resolution": 14,
    "thinking": 15,
    "rejection": 16,
}
"""By study; the others share 3."""
EARLIER = ("miniature",)
"""Studies recorded before they were sweeps: their rows have settings and a short commit, but no command."""
PLANNED = ()
"""Studies whose commands and expectations are written, but whose runs have not all been made."""
UNTOUCHED = [name for name in PLANNED if not (RECORDED / name / "results.csv").exists()]
FULL_SCALE = ("model=qwen2_5_vl_3b_lora", "data=textvqa")


def composed(experiment, *overrides):
    name = "evaluate" if str(experiment) == "resolution.yaml" else "train"
    return compose_config(f"experiment={experiment.with_suffix('')}", *overrides, name=name)


@cache
def study(experiment):
    """The folder that the sweep writes to, as its file says; test_every_job_composes.. compares."""
    return re.search(r"output_dir: .*outputs/(\w+)", (FILES / experiment).read_text())[1]


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
    heldout_seed = HELDOUT_SEED.get(study(experiment), 3)
    first, *others = jobs(experiment)
    every = [first, *(job for job in others if job.get("seed") == first.get("seed"))]  # seeds compose alike
    for job, scale in [(first, FULL_SCALE), *((job, ()) for job in every)]:
        cfg = composed(experiment, *scale, *(f"{key}={value}" for key, value in job.items()))
        instantiate(cfg.tool)
        assert cfg.data.heldout_seed == heldout_seed and Path(cfg.paths.output_dir).name == study(experiment)
        for key, value in leaves(said):
            if key not in job and "$" not in str(value):
                assert OmegaConf.select(cfg, key) == value, key


def settings(row):
    return {key.removeprefix(SETTING): value for key, value in row.items() if key.startswith(SETTING) and value}


@pytest.mark.parametrize("experiment", [path for path in SWEEPS if path.stem not in PLANNED], ids=str)
def test_every_job_is_recorded(experiment):
    name = study(experiment)
    recorded = [settings(row) for row in rows(name)]
    said = {} if name in EARLIER else {"experiment": str(experiment.with_suffix(""))}
    missing = [job for job in jobs(experiment) if not any((job | said).items() <= row.items() for row in recorded)]
    assert missing == []


@pytest.mark.parametrize("name", sorted({study(experiment) for experiment in SWEEPS} - {*EARLIER, *UNTOUCHED}))
def test_every_row_is_made_by_its_command(name):
    recorded, commands = rows(name), {}
    assert len({row["job"] for row in recorded}) == len(recorded)
    for row in recorded:
        python, entry, multirun, *overrides = shlex.split(row["command"])
        assert (python, multirun) == ("python", "-m")
        named = sorted(override for override in overrides if override.partition("=")[0] not in SAME_JOB)
        assert row["job"] == short_hash(",".join(named))
        assert dict(override.split("=") for override in overrides) | {"seed": row[f"{SETTING}seed"]} == settings(row)
        assert len(row["commit"]) == 40  # without uncommitted changes
        # Numbers and paths compose alike, choices of groups may not.
        keys = sorted(o if (CONF / (key := o.partition("=")[0])).is_dir() else key for o in overrides)
        commands.setdefault((Path(entry).stem, *keys), [o for o in overrides if not o.startswith("seed=")])
    for (command, *_), overrides in commands.items():
        compose_config(*overrides, name=command)


@pytest.mark.parametrize("name", EARLIER)
def test_earlier_rows_say_which_settings_made_them(name):
    recorded = rows(name)
    every = [settings(row) for row in recorded]
    assert len({row["job"] for row in recorded}) == len(recorded) == len({str(row) for row in every})
    commands = set()
    for row, given in zip(recorded, every, strict=True):
        trained = bool(row["seconds"])
        assert len(row["commit"]) == (7 if trained else 0)
        assert given["data.heldout_seed"] == "2" and given["data.n_test"] == "1000"
        named = (f"{key}={value}" for key, value in given.items() if key != "seed")  # seeds compose alike
        commands.add(("train" if trained else "evaluate", *named))
    for entry, *overrides in commands:
        compose_config(*overrides, name=entry)


JOB = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8}\b")
READMES = {path.parent.name: path for path in sorted(RECORDED.glob("*/README.md"))}
JUDGED = [
    (name, path)
    for name, path in READMES.items()
    if "model.path" in (text := path.read_text())
    and "src/evaluate.py" in text
    and f"$(ls -d outputs/{name}/*/model" not in text  # all its runs
]


@pytest.mark.parametrize("name, path", JUDGED, ids=[name for name, _ in JUDGED])
def test_the_jobs_that_a_readme_names_are_those_that_its_commands_make(name, path):
    text = path.read_text()
    commands = re.findall(r"^    (python src/train.py -m .*?) *(?:#.*)?$", text, re.MULTILINE)
    made = {job for command in commands for job in made_by(command)} | {row["job"] for row in rows("main")}
    named = set(JOB.findall(text))
    assert named and sorted(named - made) == []


def made_by(command):
    """The folders of the jobs of a sweep."""
    overrides = dict(override.split("=", 1) for override in shlex.split(command)[3:])
    choices = dict(OmegaConf.load(FILES / f"{experiment_file(overrides)}.yaml").hydra.sweeper.params) | overrides
    asked = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in choices.items()])
    distinct = [override for override in asked if override.key_or_group not in SAME_JOB]
    values = [[f"{override.get_key_element()}={value}" for value in spelled(override)] for override in distinct]
    return [short_hash(",".join(sorted(job))) for job in itertools.product(*values)]


def spelled(override):
    """Its values, as Hydra writes them in the names of folders: ``True``, ``0.0003``."""
    return override.sweep_string_iterator() if override.is_sweep_override() else [override.get_value_element_as_str()]


def experiment_file(overrides):
    return overrides["experiment"].strip("[]").split(",")[0]


def test_a_resumed_job_of_a_study_stays_in_its_own_folder(tmp_path):
    assert compose_config("experiment=main", f"resume={tmp_path}").paths.output_dir == str(tmp_path)


@pytest.mark.parametrize("path", ["README.md", "experiments/main/README.md"])
def test_the_main_table_shows_what_was_recorded(path):
    lines = (PROJECT / path).read_text().replace("*", "").splitlines()
    means = over_seeds(study_plots.conditions(results("main")), ["condition", "part"])
    for condition, rows in means.groupby("condition"):
        (line,) = (line for line in lines if line.startswith((f"| {condition} |", f"| {condition}: ")))
        assert [cell.strip() for cell in line.split("|")[2:5]] == [
            score_text(rows[rows.part == part].iloc[0]) for part in study_plots.parts(rows.part)
        ]


@pytest.mark.parametrize("name", PLANNED)
def test_a_planned_study_says_how_far_it_is(name):
    text = (RECORDED / name / "README.md").read_text()
    assert "## Expected, before any run" in text
    assert ("**No result yet" if name in UNTOUCHED else "**Not all of these runs have been made") in text


def test_the_study_of_mixtures_trains_on_the_questions_that_it_mines():
    """The ids of rendered questions hold ``data.seed``."""
    command = re.search(r"python src/mine\.py (.*)", (RECORDED / "mix" / "README.md").read_text())[1].split()
    mined = compose_config(*command, name="mine")
    for seed in (511, 515):
        trained = compose_config("experiment=mix", f"seed={seed}", "data.mix=zero")
        assert trained.data.mined == mined.paths.output_dir
        assert (trained.data.seed, trained.data.n_train) == (mined.data.seed, mined.data.n_train)
        assert trained.data.order_seed == seed
