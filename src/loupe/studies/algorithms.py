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


def learning(validations: pandas.DataFrame, courses: pandas.DataFrame) -> pandas.DataFrame:
    """How the runs of each condition learn, on average: the score at each validation (``step 25``); and by half of the
    training (``.., 1``, ``.., 2``) the share of the sampled groups whose rewards ``agree``, and the ``groups`` sampled
    to a step where a step samples until it has enough.

    validations, courses: validations.csv and course.csv (``studies.course``) of the same sweep.
    """
    scores = named(validations).pivot_table("score/all", CONDITION, "step", sort=False).sort_index(axis=1)
    scores = scores.rename(columns="step {}".format)
    table = named(courses)
    for number, half in enumerate(("first_half", "second_half"), start=1):
        drawn = table.get(f"{half}/drawn/groups", pandas.Series(float("nan"), table.index))
        kept, sampled = f"{half}/zero_variance_share", f"{half}/drawn/zero_variance_share"
        shares = table[sampled].fillna(table[kept]) if sampled in table else table[kept]
        table = table.assign(**{f"agree, {number}": shares, f"groups, {number}": drawn})
    by_half = [f"{name}, {number}" for name in ("agree", "groups") for number in (1, 2)]
    return scores.join(table.groupby(CONDITION, sort=False)[by_half].mean()).rename_axis("condition").reset_index()
