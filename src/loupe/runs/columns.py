"""Tables as text."""


def in_columns(lines: list[list[str]]) -> str:
    """Rows of cells, the first to the left and the others to the right of columns as wide as they need to be."""
    first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))])
        for line in lines
    )
