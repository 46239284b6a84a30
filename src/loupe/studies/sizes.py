"""The study of the sizes at which pictures are shown in training (experiments/train_resolution)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING

SIZE = f"{SETTING}size"
OVERVIEW, CROP, ASPECT = f"{SETTING}resolution", f"{SETTING}tool.zoom.output_size", f"{SETTING}prompt.aspect"
KINDS = ("{:.0f} px", "crop {:.0f} px", "square")
"""What distinguishes a run: the pixels of its overview, those of its crops, or an overview squeezed into a square."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/size``: overviews from small to large, then crops, then squares.

    Raises UserError for another study.
    """
    if OVERVIEW not in table:
        raise UserError(f"no column {OVERVIEW}: this study sweeps the size at which pictures are shown")
    given = table.reindex(columns=[OVERVIEW, CROP, ASPECT])
    kind = given[CROP].notna().where(given[ASPECT].isna(), 2).astype(int)
    pixels = given[OVERVIEW].where(kind != 1, given[CROP])
    names = [KINDS[number].format(shown) for number, shown in zip(kind, pixels, strict=True)]
    places = table.assign(**{SIZE: names, "kind": kind, "pixels": pixels})
    return places.sort_values(["kind", "pixels"], kind="stable").drop(columns=["kind", "pixels"])
