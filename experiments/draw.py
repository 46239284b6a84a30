"""Draws the plots of the READMEs from the recorded tables: figure.png in each study's folder.

python experiments/draw.py
"""

from pathlib import Path

from loupe.studies import algorithms, cures, dots, effects, interfaces, mixtures, rejection, sizes, thinking
from loupe.studies import plots as study_plots
from loupe.studies.boxes import GENERALIZATION, VLM_R1
from loupe.studies.tables import results

HERE = Path(__file__).resolve().parent


def where():
    table = results("where", "validations")
    return study_plots.learning_figure(table, study_plots.pointing_controls(table))


FIGURES = {
    "main": lambda: study_plots.main_figure(results("main")),
    "where": where,
    "cures": lambda: cures.figure(cures.runs(results("cures"))),
    "med": lambda: effects.effects_figure(results("med")),
    "mix": lambda: dots.conditions_figure(mixtures.named(results("mix")), mixtures.MIXTURE),
    "interface": lambda: dots.conditions_figure(interfaces.named(results("interface")), interfaces.INTERFACE),
    "vlm_r1": lambda: VLM_R1.figure(VLM_R1.judged(results("vlm_r1"))),
    "generalization": lambda: GENERALIZATION.figure(GENERALIZATION.judged(results("generalization"))),
    "thinking": lambda: thinking.figure(
        results("thinking", "words"), thinking.judged(results("thinking", "thoughts"), results("thinking"))
    ),
    "algorithms": lambda: dots.conditions_figure(algorithms.named(results("algorithms")), algorithms.CONDITION),
    "rejection": lambda: dots.conditions_figure(rejection.named(results("rejection")), rejection.METHOD),
    "train_resolution": lambda: dots.conditions_figure(sizes.named(results("train_resolution")), sizes.SIZE),
    "advantages": lambda: study_plots.advantages_figure(results("advantages")),
    "resolution": lambda: study_plots.panels_by_part(
        study_plots.resolution_lines(results("resolution"), results("main")), "resolution", "score", "shown at, px"
    ),
}

if __name__ == "__main__":
    for study, draw in FIGURES.items():
        draw().savefig(HERE / study / "figure.png", dpi=100)
        print(HERE / study / "figure.png")
