"""README and docs: links lead somewhere, commands compose, files that are named exist, nothing is said twice."""

import re
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers.pages import FENCED, INLINE, TITLED, Command, commands, name, prose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from loupe.paths import CONF, PROJECT
from loupe.runs.cli import quoted
from loupe.runs.suggest import with_places

DOCS = sorted((PROJECT / "docs").rglob("*.md"))
PAGES = [PROJECT / "README.md", *DOCS]
COMMANDS_IN = [*PAGES, *sorted((PROJECT / "experiments").rglob("README.md"))]
LINKS_IN = [
    *COMMANDS_IN,
    PROJECT / "notebooks" / "README.md",
    *(path for name in ("CONTRIBUTING.md", "CHANGELOG.md") if (path := PROJECT / name).exists()),
]
README_LINES = 160
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^()\s>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z]+:", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.:;?!])\s+|\n\n|\||\n- |\n#+ ")
A_SENTENCE = 40
"""Characters; anything shorter may repeat."""
A_FILE = re.compile(r"(?:src|loupe|conf|tests|experiments|benchmarks|notebooks|docs)/[\w./-]*\w")
LITERAL = {"ask": ("image", "question", "paths.output_dir"), "report": ("folder",)}
"""The ``literal`` keys that each entry passes to ``cli.entry``."""
PLACES = {"report": "folder"}
"""The key of each entry that takes arguments without one."""
EXTRAS = {
    "joblib": "hydra-joblib-launcher",
    "optuna": "hydra-optuna-sweeper",
    "submitit_local": "hydra-submitit-launcher",
}
EXTRAS["submitit_slurm"] = EXTRAS["submitit_local"]
"""The package that provides each of Hydra's plugins; none is among the requirements."""
NUMBER = re.compile(r"=-?\d[\d.e-]*$")
COMPOSED: set[tuple[str, tuple[str, ...], RunMode]] = set()
"""What was composed."""


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        number = next(n for n in range(len(found) + 1) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def broken(path: Path, target: str) -> bool:
    """Whether a relative link in the file ``path`` leads nowhere."""
    file, _, anchor = unquote(target).partition("#")
    there = (path.parent / file) if file else path
    if not there.exists() or not there.resolve().is_relative_to(PROJECT):
        return True
    return bool(anchor) and (there.suffix != ".md" or anchor not in anchors(there.read_text()))


@pytest.mark.parametrize("path", LINKS_IN, ids=name)
def test_every_link_leads_somewhere(path):
    text = INLINE.sub("", prose(path.read_text()))
    targets = [target for target in LINK.findall(text) if not ELSEWHERE.match(target)]
    dead = [f"{name(path)}: nothing at {target}" for target in targets if broken(path, target)]
    assert not dead, "\n".join(dead)


def compose(command: Command) -> None:
    """Compose what the entry would; for a sweep, each choice of each group in turn. Raises Hydra's errors."""
    arguments = with_places(list(command.arguments), PLACES.get(command.entry))
    flags = {argument for argument in arguments if argument.startswith("-")}
    given = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    unknown = flags - {"-m", "--cfg", "--help"} or set(arguments) - flags - set(given) - {"job"}
    assert not unknown, f"{command}: what is {min(unknown)}?"
    overrides = without_extras(command, [quoted(argument, LITERAL.get(command.entry, ())) for argument in given])
    if "-m" not in flags:
        composed(command.entry, overrides)
        return
    sweep = [override for override in overrides if override.startswith("experiment=")]
    composed(command.entry, sweep, RunMode.MULTIRUN)
    swept = {key: values(f"{key}={choices}") for key, choices in swept_by(overrides).items()}
    swept |= {override.partition("=")[0]: values(override) for override in overrides}
    first = {key: choices[0] for key, choices in swept.items()}
    others = {key: choices[1:] for key, choices in swept.items() if (CONF / key).is_dir()}  # numbers compose alike
    jobs = [first] + [first | {key: choice} for key, choices in others.items() for choice in choices]
    for job in jobs:
        composed(command.entry, [f"{key}={value}" for key, value in job.items()])


def swept_by(overrides: list[str]) -> dict:
    """What the experiments of a sweep say to sweep over, themselves or in what they include."""
    chosen = [override.removeprefix("experiment=") for override in overrides if override.startswith("experiment=")]
    names = [name for names in chosen for name in names.strip("[]").split(",")]
    return {key: choices for name in names for key, choices in swept_in(f"/experiment/{name}").items()}


def swept_in(name: str) -> dict:
    file = OmegaConf.load(CONF / f"{name[1:]}.yaml")
    included = [other for other in file.get("defaults", []) if isinstance(other, str) and other.startswith("/")]
    inherited = {key: choices for other in included for key, choices in swept_in(other).items()}
    return inherited | (OmegaConf.to_container(file).get("hydra", {}).get("sweeper", {}).get("params") or {})


def composed(entry: str, overrides: list[str], mode: RunMode = RunMode.RUN) -> None:
    """Once for those that differ in numbers only, which compose alike."""
    alike = tuple(NUMBER.sub("=0", override) for override in overrides)
    if (entry, alike, mode) not in COMPOSED:
        GlobalHydra.instance().config_loader().load_configuration(entry, overrides, mode)
        COMPOSED.add((entry, alike, mode))  # a second page with a broken command fails as well


def values(override: str) -> list[str]:
    """The values that a sweep gives to the setting of this override; the lower end of an interval."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    if not parsed.is_sweep_override():
        return [override.partition("=")[2]]
    return list(parsed.sweep_string_iterator()) if parsed.is_discrete_sweep() else [str(parsed.value().start)]


def without_extras(command: Command, overrides: list[str]) -> list[str]:
    """The overrides without those of plugins that are not installed; the page must name their package."""
    kept = overrides
    for kind in ("launcher", "sweeper"):
        plugin = next((o.partition("=")[2] for o in overrides if o.startswith(f"hydra/{kind}=")), None)
        if plugin is not None:
            assert plugin in EXTRAS, f"{command}: no known {kind} {plugin}"
            assert f"pip install {EXTRAS[plugin]}" in command.page, (
                f"{command}: the page does not say which package it needs"
            )
            kept = [o for o in kept if not o.startswith((f"hydra/{kind}=", f"hydra.{kind}."))]
    return kept


@pytest.fixture(scope="module")
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize("path", [path for path in COMMANDS_IN if not TITLED.search(path.read_text())], ids=name)
def test_every_command_composes(path, conf):
    for command in commands(path):
        assert (PROJECT / "src" / f"{command.entry}.py").is_file(), f"{command}: no such entry"
        try:
            compose(command)
        except Exception as error:
            raise AssertionError(f"{command}\n{error}") from error


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_file_that_is_named_exists(path):
    named = [code for code in INLINE.findall(prose(path.read_text())) if A_FILE.fullmatch(code)]
    gone = [code for code in named if not any((PROJECT / root / code).exists() for root in ("", "src"))]
    assert not gone, f"{name(path)} names what does not exist: {gone}"


def test_readme_is_one_page():
    lines = (PROJECT / "README.md").read_text().splitlines()
    assert len(lines) <= README_LINES, f"README.md has {len(lines)} lines"
    first_screen = "\n".join(lines[:25])
    for command in ("python src/train.py", "pytest"):
        assert f"pip install -r requirements.txt && {command}" in first_screen


def test_no_sentence_stands_twice():
    places = defaultdict(list)
    for path in PAGES:
        for sentence in SENTENCE_END.split(prose(path.read_text())):
            plain = " ".join(sentence.split())
            if len(plain) >= A_SENTENCE and " " in plain and set(plain) - set("-| "):
                places[plain].append(name(path))
    assert not {sentence: files for sentence, files in places.items() if len(files) > 1}


def test_the_index_lists_every_page():
    listed = set(LINK.findall((PROJECT / "docs" / "README.md").read_text()))
    assert {path.name for path in DOCS} - {"README.md"} <= listed


@pytest.mark.parametrize("group", ["model", "data", "tool", "reward", "algorithm", "rollout", "trainer", "logger"])
def test_the_table_of_groups_is_complete(group):
    (row,) = re.findall(rf"^\| `{group}` \|(.*)\|$", (PROJECT / "README.md").read_text(), re.MULTILINE)
    choices = {path.stem for path in (CONF / group).glob("*.yaml")} - {"pretrain"}  # the trainer of src/pretrain.py
    assert set(INLINE.findall(row)) == choices
