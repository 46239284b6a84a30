"""What the runs of a sweep gained, question by question, how their training went, how they call, and what they reach
over their seeds: gains.csv, course.csv, validations.csv, calls.csv and seeds.csv, beside the sweep's results.csv.

python experiments/gains.py outputs/main
"""

from pathlib import Path

from loupe.logs.history import history
from loupe.studies.calls import call_rows
from loupe.studies.course import course, validations
from loupe.studies.gains import gain_rows, identity, seed_rows, trainings
from loupe.studies.tables import write_tables


def course_rows(folder: Path) -> list[dict]:
    """One row per finished training: its settings, and the course of it."""
    return [
        identity(job) | course([step for step in history(folder / job["job"]) if "loss" in step])
        for job in trainings(folder)
    ]


def validation_rows(folder: Path) -> list[dict]:
    """One row per validation of each finished training."""
    return [identity(job) | row for job in trainings(folder) for row in validations(history(folder / job["job"]))]


# The last one may be refused: runs that differ in their seed must have answered the same questions.
TABLES = {
    **{"gains": gain_rows, "course": course_rows, "validations": validation_rows},
    **{"calls": call_rows, "seeds": seed_rows},
}

if __name__ == "__main__":
    write_tables(TABLES, "outputs/main")
