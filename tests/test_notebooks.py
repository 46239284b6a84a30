"""The notebooks: their outputs are those that were committed."""

import re
from pathlib import Path

import matplotlib
import nbformat
import pandas
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from IPython.utils.capture import capture_output
from nbclient import NotebookClient

from loupe.studies import tables

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PAPERS = {
    "med": "2602.01334",
    "generalization": "2504.07615",
    "thinking": "2504.07615",
    "vlm_r1": "2504.07615",
    "rejection": "2504.11343",
}
"""The paper whose question a notebook asks, where it is another one."""


class Shell(InteractiveShell):
    """Runs cells in this process, which has imported already what each notebook needs."""

    def enable_gui(self, gui=None):
        """Nothing, as in a notebook: ``%matplotlib inline`` shows pictures without a window."""


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.chdir(FOLDER)
    shell = Shell.instance()
    select_figure_formats(shell, {"png"})
    with matplotlib.rc_context(), pandas.option_context("display.max_columns", 20):  # as in a notebook
        yield shell
    Shell.clear_instance()


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters(notebook):
    (cell,) = [cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", ())]
    return cell


def recorded(cell):
    """What a code cell showed. A picture counts as a picture only: fonts differ between machines."""
    outputs = cell.get("outputs", [])
    return [output.text if output.output_type == "stream" else shown(output.data) for output in outputs]


def shown(data):
    return "a picture" if "image/png" in data else data["text/plain"]


def fresh(shell, cell):
    with capture_output():
        result = shell.run_cell(cell.source)
    result.raise_error()
    if result.result is None:
        return []
    data, _ = shell.display_formatter.format(result.result)
    return [shown(data)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_the_same(path, shell):
    cells = code(nbformat.read(path, as_version=4))
    shows = [fresh(shell, cell) for cell in cells]
    assert shows == [recorded(cell) for cell in cells]
    assert ["a picture"] in shows


def test_it_runs_for_the_sweep_of_a_user_in_a_clean_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for name in ("results", "validations"):
        table = tables.results("where", name)
        table[table["setting/seed"] <= 212].assign(**{"setting/seed": 7}).to_csv(tmp_path / f"{name}.csv", index=False)
    notebook = nbformat.read(FOLDER / "where.ipynb", as_version=4)
    parameters(notebook).source = f"study = {str(tmp_path)!r}"
    for cell in code(notebook):
        cell.outputs = []
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}).execute()
    shows = [recorded(cell) for cell in code(notebook)]
    assert shows[1] == ["a picture"] and "\n7 " in shows[2][0] and "211" not in str(shows)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_study_is_a_parameter(path):
    notebook = nbformat.read(path, as_version=4)
    named = parameters(notebook).source
    assert re.match(r'study = "\w+"  # or the folder of your own ', named)
    assert not any('results("' in cell.source for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_starts_with_the_question_and_ends_with_what_was_found(path):
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert "**Question.**" in texts[0] and f"arXiv {PAPERS.get(path.stem, '2506.14821')}" in texts[0]
    assert any("**What was found.**" in text for text in texts[-2:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_contains_no_path_of_a_machine(path):
    for texts in (cell.source + str(recorded(cell)) for cell in nbformat.read(path, as_version=4).cells):
        assert not re.search(r"/(home|root|Users|tmp|mnt|work)/|[A-Z]:\\", texts)
