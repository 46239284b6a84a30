"""The study of the sizes at which pictures are shown in training (experiments/train_resolution)."""

import pandas

from loupe.errors import UserError
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import named_by, rank

SIZE = f"{SETTING}size"
OVERVIEW, CROP = f"{SETTING}resolution", f"{SETTING}tool.zoom.output_size"
OVERVIEWS, CROPS, SQUARES = "{:.0f} px", "crop {:.0f} px", "square"
"""The names of runs, by what distinguishes them: pixels of the overview or of the crops, or a squeezed overview."""
MADE_BY = {CROPS: {"tool.zoom.output_size": "."}, SQUARES: {"prompt.aspect": "."}}
"""As ``tables.named_by`` reads them."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/size``: overviews from small to large, then crops, then squares.

    Raises UserError for another study.
    """
    if OVERVIEW not in table:
        raise UserError(f"no column {OVERVIEW}: this study sweeps the size at which pictures are shown")
    kind = named_by(table, OVERVIEWS, MADE_BY)
    pixels = table[CROP].where(kind == CROPS, table[OVERVIEW]) if CROP in table else table[OVERVIEW]
    names = [form.format(size) for form, size in zip(kind, pixels, strict=True)]
    sized = table.assign(**{SIZE: names, "rank": rank(kind, (OVERVIEWS, CROPS, SQUARES)), "pixels": pixels})
    return sized.sort_values(["rank", "pixels"], kind="stable").drop(columns=["rank", "pixels"])
