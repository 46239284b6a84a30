"""The shape of src/loupe, read from its source: imports point one way, and modules and functions stay short."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "loupe"

BASE = "the base modules"
ORDER = [
    [BASE],  # modules that lie in src/loupe itself
    ["tools", "rewards"],
    ["data", "engine", "metrics"],
    ["logs", "models"],
    ["grpo", "vllm"],
    ["runs"],
    ["evaluation", "serving"],
    ["sft", "studies"],
    ["pretrain", "pages"],
]
"""Packages may import those further up in this list, and themselves."""
RANKS = {package: rank for rank, packages in enumerate(ORDER) for package in packages}

BANNED = {"engine": {"hydra", "omegaconf", "lightning", "pytorch_lightning"}}
"""Libraries that a package does without."""

MODULE_LINES = 250
FUNCTION_LINES = 50


def sources(root: Path) -> dict[str, Path]:
    """The modules of the package in ``root``, by dotted name; a package is named like its __init__.py."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> list[tuple[str, str]]:
    """Pairs (module, name it imports), of imports anywhere in a module: in functions and for type checkers too.

    Names within the package are those of modules, others are as written.
    """
    modules = sources(root)
    return [
        (module, target)
        for module, path in modules.items()
        for node in ast.walk(ast.parse(path.read_text()))
        for target in _targets(node, module, path, modules)
    ]


def _targets(node: ast.AST, module: str, path: Path, modules: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [_module_of(alias.name, modules) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = module.split(".")
        above = above[: len(above) - node.level + (path.name == "__init__.py")] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        return [_module_of(f"{base}.{alias.name}", modules) for alias in node.names]
    return []


def _module_of(name: str, modules: dict[str, Path]) -> str:
    """The module that holds ``name``, where it is one of ours; else ``name``."""
    candidates = [name, name.rpartition(".")[0]]
    return next((candidate for candidate in candidates if candidate in modules), name)


def package_of(module: str, root: Path) -> str:
    first = module.split(".")[1:2]
    return first[0] if first and (root / first[0]).is_dir() else BASE


def cycles(root: Path) -> list[str]:
    graph: dict[str, set[str]] = {module: set() for module in sources(root)}
    for module, target in imports(root):
        if target in graph:
            graph[module].add(target)
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return found
        except CycleError as error:
            cycle = error.args[1][::-1]
            found.append(f"{' imports '.join(cycle)}: an import cycle")
            graph[cycle[0]].remove(cycle[1])


def back_edges(root: Path) -> list[str]:
    modules, entries = sources(root), {path.stem for path in root.parent.glob("*.py")}
    found = [
        f"{module}: package {package_of(module, root)} has no rank in the order of packages"
        for module in modules
        if package_of(module, root) not in RANKS
    ]
    for module, target in imports(root):
        if target.split(".")[0] in entries:
            found.append(f"{module} imports {target}: the package must not import the entry scripts")
        here, there = package_of(module, root), package_of(target, root)
        if target in modules and here != there and RANKS.get(here, 0) <= RANKS.get(there, 0):
            found.append(f"{module} imports {target}: {here} must not import {there}, which is not to its left")
    return found


def banned_libraries(root: Path) -> list[str]:
    return [
        f"{module} imports {target}: {package_of(module, root)} must not import {target.split('.')[0]}"
        for module, target in imports(root)
        if target.split(".")[0] in BANNED.get(package_of(module, root), ())
    ]


def too_long(root: Path) -> list[str]:
    """Lengths count from ``def`` to the last line; decorators are left out."""
    found = []
    for module, path in sources(root).items():
        text = path.read_text()
        if (n := len(text.splitlines())) > MODULE_LINES:
            found.append(f"{module}: {n} lines; a module has at most {MODULE_LINES}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n = (node.end_lineno or node.lineno) - node.lineno + 1
                if n > FUNCTION_LINES:
                    found.append(f"{module}.{node.name}: {n} lines; a function has at most {FUNCTION_LINES}")
    return found


@pytest.mark.parametrize("check", [cycles, back_edges, banned_libraries, too_long])
def test_the_package_keeps_to_the_rules(check):
    assert (broken := check(ROOT)) == [], "\n" + "\n".join(broken)


def test_every_package_of_the_order_exists():
    """A rule about a package that was renamed would hold for nothing."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == RANKS.keys() - {BASE}


def write(folder: Path, files: dict[str, str]) -> Path:
    """A package loupe with these files; every folder gets an __init__.py."""
    for name, text in files.items():
        path = folder / "src" / "loupe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return folder / "src" / "loupe"


def test_a_sound_tree_breaks_no_rule(tmp_path):
    files = {
        "records.py": "import dataclasses",
        "engine/policy.py": "import torch\nfrom loupe import records\nfrom loupe.records import Example",
        "engine/rollout.py": "from . import policy\nfrom .policy import Policy\nfrom ..records import Example",
        "grpo/module.py": "import lightning\nimport loupe.engine.policy\nfrom loupe.engine import rollout",
        "data/signs.py": "x = 1\n" * MODULE_LINES,
        "data/vstar.py": "@decorated\n@twice\ndef long():\n" + "    pass\n" * (FUNCTION_LINES - 1) + "x = 1\n",
    }
    root = write(tmp_path, files)
    assert [check(root) for check in (cycles, back_edges, banned_libraries, too_long)] == [[], [], [], []]
    assert ("loupe.engine.rollout", "loupe.engine.policy") in imports(root)
    assert ("loupe.engine.rollout", "loupe.records") in imports(root)


@pytest.mark.parametrize(
    "second",
    [
        "from loupe.data.signs import Signs",
        "from loupe.data import signs",
        "import loupe.data.signs as signs",
        "from . import signs",
        "from .signs import Signs",
        "def late():\n    from loupe.data.signs import Signs",
        "if TYPE_CHECKING:\n    from loupe.data.signs import Signs",
    ],
)
def test_a_cycle_is_noticed(tmp_path, second):
    root = write(tmp_path, {"data/signs.py": "from loupe.data.tables import Table", "data/tables.py": second})
    (line,) = cycles(root)
    assert line in {
        "loupe.data.signs imports loupe.data.tables imports loupe.data.signs: an import cycle",
        "loupe.data.tables imports loupe.data.signs imports loupe.data.tables: an import cycle",
    }


def test_every_cycle_is_noticed(tmp_path):
    files = {
        "data/__init__.py": "from loupe.data.signs import Signs",
        "data/signs.py": "import loupe.data",
        "a.py": "import loupe.b",
        "b.py": "import loupe.c",
        "c.py": "from loupe.a import f",
    }
    assert len(cycles(write(tmp_path, files))) == 2


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        (
            "records.py",
            "from loupe.tools import zoom",
            "loupe.records imports loupe.tools.zoom: the base modules must not import tools, which is not to its left",
        ),
        (
            "engine/policy.py",
            "from loupe.data.signs import Signs",
            "loupe.engine.policy imports loupe.data.signs: engine must not import data, which is not to its left",
        ),
        (
            "metrics/rows.py",
            "if TYPE_CHECKING:\n    import loupe.runs.run",
            "loupe.metrics.rows imports loupe.runs.run: metrics must not import runs, which is not to its left",
        ),
        (
            "grpo/module.py",
            "def late():\n    from ..runs.run import train",
            "loupe.grpo.module imports loupe.runs.run: grpo must not import runs, which is not to its left",
        ),
        (
            "runs/cli.py",
            "import train",
            "loupe.runs.cli imports train: the package must not import the entry scripts",
        ),
        ("misc/a.py", "", "loupe.misc.a: package misc has no rank in the order of packages"),
    ],
)
def test_a_back_edge_is_noticed(tmp_path, path, text, line):
    root = write(tmp_path, {"tools/zoom.py": "", "data/signs.py": "", "runs/run.py": "", path: text})
    (root.parent / "train.py").touch()
    assert [found for found in back_edges(root) if not found.startswith("loupe.misc:")] == [line]


@pytest.mark.parametrize("text", ["import hydra", "from omegaconf import DictConfig", "import lightning.pytorch as pl"])
def test_a_banned_library_is_noticed(tmp_path, text):
    target = {"hydra": "hydra", "omegaconf": "omegaconf.DictConfig"}.get(text.split()[1], "lightning.pytorch")
    root = write(tmp_path, {"engine/update.py": text, "grpo/module.py": text})
    assert banned_libraries(root) == [
        f"loupe.engine.update imports {target}: engine must not import {target.split('.')[0]}"
    ]


def test_a_long_module_is_noticed(tmp_path):
    root = write(tmp_path, {"data/signs.py": "x = 1\n" * (MODULE_LINES + 1)})
    assert too_long(root) == [f"loupe.data.signs: {MODULE_LINES + 1} lines; a module has at most {MODULE_LINES}"]


@pytest.mark.parametrize("head", ["def f():", "class A:\n    @property\n    async def f(self):"])
def test_a_long_function_is_noticed(tmp_path, head):
    root = write(tmp_path, {"data/signs.py": head + "\n" + "        pass\n" * FUNCTION_LINES})
    n = FUNCTION_LINES
    assert too_long(root) == [f"loupe.data.signs.f: {n + 1} lines; a function has at most {n}"]
