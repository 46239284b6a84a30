import subprocess
import sys

import pytest

from loupe.errors import UserError
from loupe.logs.rows import keep_rows, read_rows


def test_unwanted_rows_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 1, "b": 0.5}\n{"step": 1, "c')
    assert keep_rows(path, lambda row: row["step"] == 1) == [{"step": 1}, {"step": 1, "b": 0.5}]
    assert path.read_text() == '{"step": 1}\n{"step": 1, "b": 0.5}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is damaged; delete it, or restore the file"):
        read_rows(path)
    path.write_text('{"step": 1}\n{"st')  # an incomplete last line is that of a process that was killed
    assert read_rows(path) == [{"step": 1}]


def test_reading_results_needs_no_training_library():
    """Notebooks and tables start at once, and show no warning of a library that they do not use."""
    code = "import sys, loupe.runs.sweeps, loupe.logs.rows; print({'lightning', 'wandb'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
