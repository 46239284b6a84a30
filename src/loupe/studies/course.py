"""How a run's training went, in one row: pure functions of its logged steps (``logs.history``)."""

from statistics import fmean

from loupe.records import TrajectoryType

METRICS = ("score/all", "zoom_rate/all", "reward/format", "reward/iou", "think/words", "think/unique_share")
BY_HALF = ("zero_variance_share", "drawn/zero_variance_share", "drawn/groups")
WATCHED = ("score", "zoom_rate", "zoom_hit_rate", "failed_call_rate")
PREFIXES = tuple(f"val/{metric}/" for metric in WATCHED)  # of the keys of WATCHED
FEW = 5  # steps at the beginning and at the end that are averaged


def course(steps: list[dict]) -> dict[str, float | None]:
    """The course of training: ``first/<metric>`` and ``last/<metric>``, means over the first and last five steps;
    ``first_half/<metric>`` and ``second_half/<metric>``, means over those of ``BY_HALF``; ``saturated/reward/format``,
    the first step at which 99% of the answers are well-formed; the mean of ``think/reward_correlation``; and
    :func:`advantage_gaps`.

    steps: the rows of the training steps; metrics that they lack are left out.
    """
    row: dict[str, float | None] = {}
    middle = (len(steps) + 1) // 2
    few, halves = (steps[:FEW], steps[-FEW:]), (steps[:middle], steps[len(steps) // 2 :])
    for metrics, names, parts in ((METRICS, ("first", "last"), few), (BY_HALF, ("first_half", "second_half"), halves)):
        for metric in [metric for metric in metrics if any(metric in step for step in steps)]:
            row |= {f"{name}/{metric}": _mean(part, metric) for name, part in zip(names, parts, strict=True)}
    well_formed = (step["step"] for step in steps if step.get("reward/format", 0) >= 0.99)
    row["saturated/reward/format"] = next(well_formed, None)
    row["think/reward_correlation"] = _mean(steps, "think/reward_correlation")
    return row | advantage_gaps(steps)


def _mean(steps: list[dict], metric: str) -> float | None:
    """Over the steps that have the metric, which one without readable rows has not; None if none has."""
    values = [step[metric] for step in steps if metric in step]
    return fmean(values) if values else None


def validations(rows: list[dict]) -> list[dict[str, float]]:
    """The validations of a run, in order: ``step``, and ``<metric>/<part>`` for each of ``WATCHED``.

    rows: all rows that it logged.
    """
    found = []
    for row in rows:
        metrics = {key.removeprefix("val/"): value for key, value in row.items() if key.startswith(PREFIXES)}
        if metrics:
            found.append({"step": row["step"]} | metrics)
    return found


def advantage_gaps(steps: list[dict]) -> dict[str, float | None]:
    """How far the mean advantage of successful calls lies above that of each other trajectory type, in each part.

    Over the steps in which both types occur: ``gap/<part>/<type>`` is the mean difference, ``gap/<part>/<type>/share``
    the share of steps in which successful calls are ahead; None if the types never occur together.
    """
    row: dict[str, float | None] = {}
    for part in sorted({key.split("/")[1] for step in steps for key in step if key.startswith("advantage/")}):
        for other in (TrajectoryType.NO_TOOL, TrajectoryType.TOOL_FAIL):
            success, mean = (f"advantage/{part}/{kind}/mean" for kind in (TrajectoryType.TOOL_SUCCESS, other))
            gaps = [step[success] - step[mean] for step in steps if None not in (step.get(success), step.get(mean))]
            row[f"gap/{part}/{other}"] = fmean(gaps) if gaps else None
            row[f"gap/{part}/{other}/share"] = fmean(gap > 0 for gap in gaps) if gaps else None
    return row
