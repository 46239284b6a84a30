import sys

from loupe.runs.config import command_line


def test_a_command_is_recorded_as_in_the_project_and_repeated_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["../my loupe/src/train.py"])
    assert command_line() == "python src/train.py"
    assert command_line(typed=True) == "python '../my loupe/src/train.py'"


def test_the_program_that_called_a_job_is_not_its_entry(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    assert command_line(typed=True) == "python src/train.py"
