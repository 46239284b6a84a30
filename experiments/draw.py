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
    "main": study_plots.main_figure,
    "advantages": study_plots.advantages_figure,
}

if __name__ == "__main__":
    for study, draw in FIGURES.items():
        draw(results(study)).savefig(HERE / study / "figure.png", dpi=100)
        print(HERE / study / "figure.png")
