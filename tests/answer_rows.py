"""Answer rows by hand, as far as the counter looks at them."""

BLANK = {
    **{"cluster": None, "cycle": None, "hits": None, "score_leave_one_out": None, "iou": None},
    **{"answered": True, "pixels": 784},
}


def rows(condition, question, *scores, subset="small", calls=(), **more):
    """The rows of one question, a sample for each score."""
    kind = "tool_success" if "ok" in calls else "tool_fail" if calls else "no_tool"
    given = {"condition": condition, "id": question, "subset": subset, "type": kind, "calls": list(calls)}
    return [given | BLANK | {"score": score, "sample": i} | more for i, score in enumerate(scores)]
