"""What the policies of a sweep with data=beside think, and what it is worth: thoughts.csv, with a row for each
evaluation and condition, and words.csv, the course of the trainings, beside the sweep's results.csv.

python experiments/thoughts.py outputs/thinking
"""

from loupe.studies.tables import write_tables
from loupe.studies.thoughts import thought_rows, word_rows

TABLES = {"words": word_rows, "thoughts": thought_rows}

if __name__ == "__main__":
    write_tables(TABLES, "outputs/thinking")
