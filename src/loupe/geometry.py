"""Areas of boxes."""

from loupe.records import Box


def area(box: Box) -> float:
    """Of a box; 0 for one without width or height."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    return area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
