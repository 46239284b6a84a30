"""What figures and pages share: the colors and names of trajectory types, and the order of subsets."""

from collections.abc import Iterable

from loupe.records import TrajectoryType

# Colors that color-blind readers can tell apart (Okabe and Ito).
STYLES = {
    TrajectoryType.TOOL_SUCCESS: ("successful tool call", "#0072B2"),
    TrajectoryType.NO_TOOL: ("no tool call", "#4D4D4D"),
    TrajectoryType.TOOL_FAIL: ("failed tool call", "#D55E00"),
}
SUBSET_COLORS = ("#4D4D4D", "#E69F00", "#0072B2", "#009E73", "#CC79A7")


def parts(names: Iterable[str]) -> list[str]:
    """The parts of the questions, in reverse alphabetical order (small before large), ``all`` last."""
    return [*sorted(set(names) - {"all"}, reverse=True), "all"]
