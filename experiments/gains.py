"""What the runs of a sweep gained, question by question, how their training went, how they call, and what they reach
over their seeds: gains.csv, course.csv, validations.csv, calls.csv and seeds.csv, beside the sweep's results.csv.

python experiments/gains.py outputs/main
"""

import sys
from pathlib import Path

from loupe.errors import UserError
from loupe.logs.history import history
from loupe.studies.calls import call_rows
from loupe.studies.course import course, validations
from loupe.studies.gains import gain_rows, identity, seed_rows, trainings
from loupe.studies.tables import write


def course_rows(folder: Path) -> list[dict]:
    """One row per finished training: its settings, and the course of it."""
    return [
        identity(job) | course([step for step in history(folder / job["job"]) if "loss" in step])
        for job in trainings(folder)
    ]


def validation_rows(folder: Path) -> list[dict]:
    """One row per validation of each finished training."""
    return [identity(job) | row for job in trainings(folder) for row in validations(history(folder / job["job"]))]


def main(folder: Path) -> None:
    # The last one may be refused: runs that differ in their seed must have answered the same questions.
    tables = {
        **{"gains": gain_rows, "course": course_rows, "validations": validation_rows},
        **{"calls": call_rows, "seeds": seed_rows},
    }
    for name, make in tables.items():
        rows = make(folder)
        write(rows, folder / f"{name}.csv")
        print(f"{folder / name}.csv: {len(rows)} rows")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: name the folder of a sweep, such as outputs/main")
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"error: {error}")
