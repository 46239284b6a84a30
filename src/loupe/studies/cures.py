"""The study of what stops a policy from always zooming (experiments/cures)."""

import pandas
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.metrics.intervals import share
from loupe.runs.plots import ZOOMS, percent
from loupe.runs.sweeps import SETTING
from loupe.studies.dots import dots, panels
from loupe.studies.tables import by_part, named_by, seed_scores

NONE = "none"
CURE, BONUS, SEED = f"{SETTING}cure", f"{SETTING}bonus", f"{SETTING}seed"
CURES = {
    "decaying bonus": {"reward.weights.tool": r"\{"},
    "KL to the base": {"algorithm.loss.beta": "[1-9]"},
    "entropy": {"algorithm.loss.entropy": "[1-9]"},
    "only if needed": {"reward": "tool_if_needed"},
    "measured benefit": {"reward": "tool_by_benefit"},
    "balanced groups": {"rollout.balance": "[1-9]"},
    "balanced, learned": {"rollout.learn_forced": "(?i)true"},
    "balanced, winning": {"rollout.learn_forced": "winning"},
    "benefit and balanced, learned": {"reward": "tool_by_benefit", "rollout.learn_forced": "(?i)true"},
    "benefit and balanced, winning": {"reward": "tool_by_benefit", "rollout.learn_forced": "winning"},
}
"""As ``tables.named_by`` reads them."""
COLORS = {"0.1": "#E69F00", "0.5": "#D55E00"}
"""By bonus, which is where a decaying one starts."""
COLLAPSED = 0.5
"""A run with a larger share of zooms on large signs has collapsed."""


def named(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows with ``setting/cure`` and ``setting/bonus``, in the order of ``CURES``.

    Raises UserError if a row has another bonus for tool use, or none.
    """
    if (weights := f"{SETTING}reward.weights.tool") not in table:
        raise UserError("no column setting/reward.weights.tool: this study sweeps the bonus for tool use")
    bonus = table[weights].astype(str).str.extract(r"([\d.]+)", expand=False)
    if others := sorted(set(table[weights][~bonus.isin(list(COLORS))].astype(str))):
        raise UserError(f"setting/reward.weights.tool={others[0]}: this study knows {' and '.join(COLORS)}")
    cure = named_by(table, NONE, CURES)
    rank = cure.map([NONE, *CURES].index)
    keys = ["rank", BONUS, *(key for key in [SEED] if key in table)]
    return table.assign(**{CURE: cure, BONUS: bonus, "rank": rank}).sort_values(keys).drop(columns="rank")


def runs(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per run: ``cure``, ``bonus``, ``seed``, and after training ``zooms`` on large signs, ``score`` on all,
    and ``collapsed``. Raises UserError as :func:`named` does.
    """
    tidy = by_part(named(table), "after")
    large, every = (tidy[tidy.part == part].set_index("job") for part in ("large", "all"))
    found = large[["cure", "bonus", "seed"]].assign(zooms=large.zoom_rate, score=every.score)
    return found.assign(collapsed=found.zooms > COLLAPSED).reset_index()


def over_seeds(table: pandas.DataFrame) -> pandas.DataFrame:
    """The scores of each cure and bonus as text, from ``seeds.csv`` (``studies.gains.seed_rows``)."""
    return seed_scores(named(table), {"cure": CURE, "bonus": BONUS})


def shares(found: pandas.DataFrame) -> pandas.DataFrame:
    """How many of the :func:`runs` of each cure and bonus have collapsed, with the exact 95% interval of the share."""
    rows = []
    for (cure, bonus), group in found.groupby(["cure", "bonus"], sort=False):
        collapsed = int(group.collapsed.sum())
        interval = share(collapsed, len(group))
        row = {"cure": cure, "bonus": bonus, "runs": len(group), "collapsed": collapsed}
        rows.append(row | {"share": interval.mean, "low": interval.low, "high": interval.high})
    return pandas.DataFrame(rows)


def figure(found: pandas.DataFrame) -> Figure:
    """Zooms on large signs and the score of every run, by cure; the color is the bonus."""
    shown = found.assign(bonus="bonus " + found.bonus)
    colors = {f"bonus {bonus}": color for bonus, color in COLORS.items()}
    made, both = panels(shown.cure.nunique())
    titles = {"zooms": f"{ZOOMS}, large signs", "score": "Score, all signs"}
    for axes, (column, title) in zip(both, titles.items(), strict=True):
        dots(axes, shown, "cure", column, "bonus", colors)
        percent(axes, title=title)
    made.axes[0].legend(frameon=False)
    return made
