"""The study of algorithms, group sizes and inner epochs (experiments/algorithms)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import named_by, ordered, rank

CONDITION, ALGORITHM, RATE = f"{SETTING}condition", f"{SETTING}algorithm", f"{SETTING}algorithm.optimizer.lr"
NAMES = {"grpo": "GRPO", "dr_grpo": "Dr. GRPO", "dapo": "DAPO", "gspo": "GSPO", "rloo": "RLOO"}
GRPO = {"algorithm": "^grpo$"}
VARIANTS = {
    **{f"groups of {size}": GRPO | {"algorithm.group_size": rf"^{size}(?:\.0)?$"} for size in (2, 4, 16, 32)},
    **{f"{epochs} epochs": GRPO | {"algorithm.inner_epochs": rf"^{epochs}(?:\.0)?$"} for epochs in (2, 4)},
}
"""As ``tables.named_by`` reads them."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/condition``: the algorithms, then the variants of GRPO.

    Raises UserError for another study.
    """
    if ALGORITHM not in table:
        raise UserError(f"no column {ALGORITHM}: this study sweeps the algorithm")
    names = named_by(table, "", VARIANTS)
    names = names.where(names != "", table[ALGORITHM].map(lambda name: NAMES.get(name, name)))
    return ordered(table.assign(**{CONDITION: names}), rank(names, [*NAMES.values(), *VARIANTS]))


def rates(table: pandas.DataFrame) -> pandas.DataFrame:
    """The mean of ``best_val_score`` over the runs of each algorithm (rows) at each learning rate (columns).

    Raises UserError as :func:`named` does.
    """
    return named(table).pivot_table("best_val_score", CONDITION, RATE, sort=False).sort_index(axis=1)
