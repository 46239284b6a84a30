from loupe.pages.curves import MOST_POINTS, advantages, charts, thinned


def test_panels_hold_what_was_logged_under_their_keys():
    rows = [
        {"step": 0, "val/score/all": 0.5, "val/score/small": 0.25, "val/score/large": 0.75},
        {"step": 1, "score/all": 0.4, "reward/mean": 0.2, "reward/tool": 1.0, "grad_norm": 3.0},
        {"step": 2, "score/all": 0.6, "reward/mean": 0.3, "reward/tool": 0.0},
    ]
    panels = {panel["title"]: panel for panel in charts(rows)}
    assert list(panels) == [
        "Score on validation questions",
        "Score in training",
        "Reward and its terms",
        "Gradient norm",
    ]
    validated = panels["Score on validation questions"]
    assert [curve["name"] for curve in validated["curves"]] == ["all", "large", "small"] and not validated["smooth"]
    assert panels["Score in training"]["curves"] == [{"name": "all", "steps": [1, 2], "values": [0.4, 0.6]}]
    assert panels["Score in training"]["smooth"] and panels["Score in training"]["percent"]
    assert [curve["name"] for curve in panels["Reward and its terms"]["curves"]] == ["mean", "tool"]


def test_of_a_run_that_does_not_learn_the_panels_show_why():
    rows = [{"step": 1, "zero_variance_share": 1.0, "stop/out_of_tokens": 0.75, "stop/answered": 0.25, "kl": 0.1}]
    curves = {panel["title"]: panel["curves"] for panel in charts(rows)}
    assert curves == {
        "Groups whose rewards are all equal": [{"name": "zero_variance_share", "steps": [1], "values": [1.0]}],
        "Trajectories out of tokens": [{"name": "out_of_tokens", "steps": [1], "values": [0.75]}],
        "KL to the base": [{"name": "kl", "steps": [1], "values": [0.1]}],
    }


def test_supervised_training_has_its_loss_in_training_and_on_held_out_lessons():
    rows = [{"step": 0, "val/loss": 2.0}, {"step": 1, "loss": 1.5}, {"step": 1, "val/loss": 1.0}]
    training, heldout = charts(rows)
    assert training["title"] == "Loss" and training["smooth"]
    assert training["curves"] == [{"name": "loss", "steps": [1], "values": [1.5]}]
    assert heldout["title"] == "Loss on held-out lessons" and not heldout["smooth"]
    assert heldout["curves"] == [{"name": "loss", "steps": [0, 1], "values": [2.0, 1.0]}]


def test_advantages_by_type_and_part():
    counts = {"counts": [0, 2], "edges": [-3, 0, 3]}
    rows = [{"step": 0, "val/score/all": 0.5}]
    for step in (1, 2):
        rows.append({"step": step, "advantage/small/no_tool/mean": -0.5, "advantage/small/no_tool/q05": -step})
        for kind in ("no_tool", "tool_success", "tool_fail"):
            rows[-1] |= {f"advantage/all/{kind}/share": 0.0, f"advantage/small/{kind}/share": 0.0}
    rows[1] |= {"advantage/all/no_tool/mean": 0.25, "advantage/all/no_tool/hist": counts}
    found = advantages(rows)
    assert found["steps"] == [1, 2] and list(found["parts"]) == ["all", "small"]
    assert found["parts"]["all"]["no_tool"]["mean"] == [0.25, None]
    assert found["parts"]["small"]["no_tool"]["mean"] == [-0.5, -0.5]
    assert found["parts"]["small"]["no_tool"]["q05"] == [-1, -2]
    assert found["edges"] == [-3, 0, 3] and found["parts"]["all"]["no_tool"]["counts"] == [[0, 2], None]
    assert found["parts"]["small"]["no_tool"]["counts"] == [None, None]
    assert advantages(rows[:1]) is None


def test_long_curves_keep_their_ends():
    rows = [{"step": step} for step in range(10 * MOST_POINTS + 7)]
    kept = thinned(rows)
    assert len(kept) == MOST_POINTS and (kept[0], kept[-1]) == (rows[0], rows[-1])
    assert thinned(rows[:5]) == rows[:5]
