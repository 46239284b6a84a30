"""The study of algorithms, group sizes and inner epochs (experiments/algorithms)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import named_by, ordered, rank

CONDITION, ALGORITHM, RATE = f"{SETTING}condition", f"{SETTING}algorithm", f"{SETTING}algorithm.optimizer.lr"
NAMES = {"grpo": "GRPO", "dr_grpo": "Dr. GRPO", "dapo": "DAPO", "gspo": "GSPO", "rloo": "RLOO"}
VARIANTS = {
    **{f"groups of {size}": ("grpo", "algorithm.group_size", size) for size in (2, 4, 16, 32)},
    **{f"GRPO, {epochs} epochs": ("grpo", "algorithm.inner_epochs", epochs) for epochs in (2, 4)},
    **{f"GSPO, {epochs} epochs": ("gspo", "algorithm.inner_epochs", epochs) for epochs in (2, 4)},
}
"""Algorithms with a setting that has another value."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/condition``: the algorithms, then their variants.

    Raises UserError for another study.
    """
    if ALGORITHM not in table:
        raise UserError(f"no column {ALGORITHM}: this study sweeps the algorithm")
    made_by = {
        name: {"algorithm": f"^{algorithm}$", setting: rf"^{value}(?:\.0)?$"}
        for name, (algorithm, setting, value) in VARIANTS.items()
    }
    names = named_by(table, "", made_by)
    names = names.where(names != "", table[ALGORITHM].map(lambda name: NAMES.get(name, name)))
    return ordered(table.assign(**{CONDITION: names}), rank(names, [*NAMES.values(), *VARIANTS]))


def rates(table: pandas.DataFrame) -> pandas.DataFrame:
    """The mean of ``best_val_score`` over the runs of each algorithm (rows) at each learning rate (columns).

    Raises UserError as :func:`named` does.
    """
    return named(table).pivot_table("best_val_score", CONDITION, RATE, sort=False).sort_index(axis=1)
