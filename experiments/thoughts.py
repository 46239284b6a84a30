"""What the policies of a sweep with data=beside think, and what it is worth: thoughts.csv, with a row for each
evaluation and condition, and words.csv, the course of the trainings, beside the sweep's results.csv.

python experiments/thoughts.py outputs/thinking
"""

import sys
from pathlib import Path

from loupe.errors import UserError
from loupe.studies.tables import write
from loupe.studies.thoughts import thought_rows, word_rows


def main(folder: Path) -> None:
    for name, make in {"words": word_rows, "thoughts": thought_rows}.items():
        rows = make(folder)
        write(rows, folder / f"{name}.csv")
        print(f"{folder / name}.csv: {len(rows)} rows")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: name the folder of a sweep, such as outputs/thinking")
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"error: {error}")
