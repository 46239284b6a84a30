"""The study of learning from good answers alone (experiments/rejection)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import ZERO, named_by, ordered, rank

METHOD = f"{SETTING}method"
METHODS = {
    "GRPO": {"algorithm": "^grpo$"},
    "RAFT": {"algorithm": "^raft$"},
    "RAFT, tokens alike": {"algorithm": "^raft$", "algorithm.loss._target_": "DAPO$"},
    "four rounds": {"experiment": "^rejection_rounds$"},
    "one round": {"experiment": "^rejection_sft$"},
    "all answers": {"experiment": "^rejection_sft$", "min_score": ZERO},
}
"""As ``tables.named_by`` reads them; the rounds are those of rejection sampling."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/method``, in the order of ``METHODS``. Raises UserError for another study."""
    names = named_by(table, "", METHODS)
    if not names.isin(METHODS).any():
        raise UserError(f"no run of the experiments rejection, rejection_sft or rejection_rounds in {len(table)} rows")
    return ordered(table.assign(**{METHOD: names}), rank(names, list(METHODS)))
