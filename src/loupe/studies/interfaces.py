"""The study of the form in which the tool is called (experiments/interface)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import BALANCED, named_by, ordered, rank

INTERFACE = f"{SETTING}interface"
FORM, BASE = f"{SETTING}tool.call", f"{SETTING}model.path"
ORDER = ("keypoint_yaml", "box_yaml", "box_json", "function")
OTHER_BASE = "{}, other base"
"""The name of a form where the run starts from a base that is given as ``model.path``, not from that of the study."""
COUNTED = ("calling", "failed", "hits", "side", "tokens/with_call", "tokens/without")


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/interface``, in the order of ``ORDER``. Raises UserError for another study."""
    if FORM not in table:
        raise UserError(f"no column {FORM}: this study sweeps the form of calls")
    other = table[BASE].notna() if BASE in table else pandas.Series(False, table.index)
    names = table[FORM].where(~other, table[FORM].map(OTHER_BASE.format))
    balanced = named_by(table, "", BALANCED)
    places, names = rank(table[FORM], ORDER) + other / 2 + rank(balanced, ["", *BALANCED]) / 8, names + balanced
    return ordered(table.assign(**{INTERFACE: names}), places)


def calls(table: pandas.DataFrame) -> pandas.DataFrame:
    """How each form is called before and after training: means over the runs of ``calls.csv`` (``studies.calls``)."""
    groups = named(table).rename(columns={INTERFACE: "interface"}).groupby(["interface", "when"], sort=False)
    return groups[list(COUNTED)].mean().join(groups.size().rename("runs")).reset_index()
