"""The notebooks, run in a clean kernel: their outputs are those that were committed."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from loupe.studies import tables

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def outputs(notebook):
    """What each code cell printed and showed. A picture counts as a picture only: fonts differ between machines."""
    return [cell_outputs(cell) for cell in notebook.cells if cell.cell_type == "code"]


def cell_outputs(cell):
    return [shown(output) for output in cell.get("outputs", [])]


def shown(output):
    if output.output_type == "stream":
        return output.text
    return "a picture" if "image/png" in output.data else output.data["text/plain"]


def parameters(notebook):
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    return cell


def run(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}).execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_the_same(path, monkeypatch):
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    recorded = nbformat.read(path, as_version=4)
    fresh = run(nbformat.read(path, as_version=4))
    assert outputs(fresh) == outputs(recorded)
    assert any("a picture" in cell for cell in outputs(recorded))


def test_it_runs_for_the_sweep_of_a_user(tmp_path, monkeypatch):
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for name in ("results", "validations"):
        table = tables.results("where", name)
        table[table["setting/seed"] <= 212].assign(**{"setting/seed": 7}).to_csv(tmp_path / f"{name}.csv", index=False)
    notebook = nbformat.read(FOLDER / "where.ipynb", as_version=4)
    parameters(notebook).source = f"study = {str(tmp_path)!r}"
    shown = outputs(run(notebook))
    assert "a picture" in shown[1] and "\n7 " in shown[2][0] and "211" not in str(shown)


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
    assert "**Question.**" in texts[0] and "arXiv 2506.14821" in texts[0]
    assert any("**What was found.**" in text for text in texts[-2:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_contains_no_path_of_a_machine(path):
    for texts in (cell.source + str(cell_outputs(cell)) for cell in nbformat.read(path, as_version=4).cells):
        assert not re.search(r"/(home|root|Users|tmp|mnt|work)/|[A-Z]:\\", texts)
