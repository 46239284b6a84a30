"""The figures of the recorded studies, as the READMEs show them: figure.png in each study's folder.

python experiments/draw.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from loupe import study_plots
from loupe.studies import results

HERE = Path(__file__).resolve().parent
FIGURES = {
    "main": lambda: study_plots.main_figure(results("main")),
    "advantages": lambda: study_plots.advantages_figure(results("advantages")),
    "resolution": lambda: study_plots.panels_by_part(
        study_plots.resolution_lines(results("resolution"), results("main")), "resolution", "score", "shown at, px"
    ),
}

if __name__ == "__main__":
    for study, draw in FIGURES.items():
        draw().savefig(HERE / study / "figure.png", dpi=100)
        print(HERE / study / "figure.png")
