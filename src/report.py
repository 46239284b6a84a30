"""Make the page of a run, an evaluation or a sweep: ``python src/report.py folder=outputs/first``.

Writes report.html into that folder; a browser opens it without a network or a server. Every run and evaluation makes
its page when it ends. This command makes one while a run goes on, or of a folder that has none; of a sweep also those
that its jobs lack.
"""

from pathlib import Path

from omegaconf import OmegaConf

from loupe.errors import UserError, require_choice, require_int
from loupe.pages.callback import draw, jobs_without_page
from loupe.pages.page import write_page
from loupe.runs import cli


def report(cfg) -> Path:
    """Make the page of ``folder``; returns its path."""
    if OmegaConf.is_missing(cfg, "folder") or not str(cfg.folder).strip():
        raise UserError("folder is empty; give folder=outputs/first, the paths.output_dir of a run")
    most = require_int("page.most", cfg.page.most, 1)
    bundle, folder = require_choice("page.bundle", cfg.page.bundle, (True, False)), Path(str(cfg.folder))
    for job in jobs_without_page(folder):
        draw(job)
    path = write_page(folder, bundle, most)
    print(f"made {path}")
    return path


main = cli.entry(report, literal=("folder",))

if __name__ == "__main__":
    main()
