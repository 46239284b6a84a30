"""Values and tables as text."""

from loupe.metrics.intervals import Estimate
from loupe.metrics.summary import Summary

COMPARED = ("score", "iou", "zoom_rate", "zoom_hit_rate", "failed_call_rate", "n")  # summary.json has all metrics


def format_value(value: float | dict | str | None) -> str:
    """Floats to three decimals, intervals as "mean [low, high]", None as "-"."""
    if isinstance(value, dict):
        return str(Estimate(**value))
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def comparison(before: Summary, after: Summary) -> list[list[str]]:
    """Rows (metric/part, value before, value after) of the ``COMPARED`` metrics, as far as ``before`` has them.

    ``after`` may lack some, where a run was resumed with other test questions.
    """
    return [
        [f"{metric}/{part}", format_value(value), format_value(after.get(metric, {}).get(part))]
        for metric in COMPARED
        for part, value in before.get(metric, {}).items()
    ]


def in_columns(rows: list[list[str]]) -> str:
    """A table in plain text: the first column aligned left, all others right, each as wide as its longest cell."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    )
