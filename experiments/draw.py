"""Draws the plots of the READMEs from the recorded tables: figure.png in each study's folder.

python experiments/draw.py
"""

from pathlib import Path

from loupe.studies import cures, dots, effects, generalization, interfaces, mixtures, sizes
from loupe.studies import plots as study_plots
from loupe.studies.tables import results

HERE = Path(__file__).resolve().parent


def where():
    table = results("where", "validations")
    return study_plots.learning_figure(table, study_plots.pointing_controls(table))


def mix():
    table = mixtures.named(results("mix"))
    return dots.conditions_figure(table, table[mixtures.MIXTURE])


def interface():
    table = interfaces.named(results("interface"))
    return dots.conditions_figure(table, table[interfaces.INTERFACE])


def train_resolution():
    table = sizes.named(results("train_resolution"))
    return dots.conditions_figure(table, table[sizes.SIZE])


FIGURES = {
    "main": lambda: study_plots.main_figure(results("main")),
    "where": where,
    "cures": lambda: cures.figure(cures.runs(results("cures"))),
    "med": lambda: effects.effects_figure(results("med")),
    "mix": mix,
    "interface": interface,
    "generalization": lambda: generalization.figure(generalization.judged(results("generalization"))),
    "train_resolution": train_resolution,
    "advantages": lambda: study_plots.advantages_figure(results("advantages")),
    "resolution": lambda: study_plots.panels_by_part(
        study_plots.resolution_lines(results("resolution"), results("main")), "resolution", "score", "shown at, px"
    ),
}

if __name__ == "__main__":
    for study, draw in FIGURES.items():
        draw().savefig(HERE / study / "figure.png", dpi=100)
        print(HERE / study / "figure.png")
