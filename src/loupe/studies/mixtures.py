"""The study of which questions to train on (experiments/mix)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import BALANCED, named_by, ordered, rank

MIXTURE = f"{SETTING}mixture"
HARD = f"{SETTING}data.hard_fraction"
ORDER = ("25% hard", "one_to_one", "all", "75% hard", "at_most_half", "zero")
"""From few hard questions to many: of all 2,000, 63% are hard."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/mixture``, in the order of ``ORDER``, each followed by the same with balanced
    groups and with more steps.

    Raises UserError for another study.
    """
    if (key := f"{SETTING}data.mix") not in table:
        raise UserError(f"no column {key}: this study sweeps the mixture of training questions")
    fraction = table[HARD] if HARD in table else pandas.Series(float("nan"), table.index)
    names = table[key].where(fraction.isna(), fraction.map("{:.0%} hard".format))
    steps = table.get(f"{SETTING}trainer.max_steps", pandas.Series(float("nan"), table.index))
    longer = steps.map(", {:.0f} steps".format).where(steps.notna(), "")
    balanced = named_by(table, "", BALANCED)
    places = rank(names, ORDER) + rank(balanced, ["", *BALANCED]) / 4 + (longer != "") / 8
    names = names + balanced + longer
    return ordered(table.assign(**{MIXTURE: names}), places)
