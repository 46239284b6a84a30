"""Make the page of a run, an evaluation or a sweep: ``python src/report.py outputs/first``.

Writes report.html into that folder; a browser opens it without a network or a server. Every run and evaluation makes
its page when it ends. This command makes one while a run goes on, or of a folder that has none; of a sweep also those
that its jobs lack. Given several folders, it compares them in comparison.html, in the folder that holds them all.
"""

from pathlib import Path

from omegaconf import OmegaConf

from loupe.errors import UserError, require_choice, require_int
from loupe.pages.callback import draw, jobs_without_page
from loupe.pages.page import write_comparison, write_page
from loupe.paths import of_setting
from loupe.runs import cli
from loupe.runs.files import RunFile


def report(cfg) -> Path:
    """Make the page of ``folder``, or of the comparison if it is a list; returns its path."""
    given = "" if OmegaConf.is_missing(cfg, "folder") else cfg.folder
    folders = [of_setting(one) for one in (given if OmegaConf.is_list(given) else [given]) if str(one).strip()]
    if not folders:
        raise UserError("folder is empty; name the paths.output_dir of a run, such as outputs/first")
    most = require_int("page.most", cfg.page.most, 1)
    bundle = require_choice("page.bundle", cfg.page.bundle, (True, False))
    if len(folders) > 1:
        lacking = [folder for folder in folders if not (folder / RunFile.REPORT).exists()]
    else:
        lacking = jobs_without_page(folders[0])
    for folder in lacking:
        draw(folder)
    path = write_comparison(folders) if len(folders) > 1 else write_page(folders[0], bundle, most)
    print(f"made {path}")
    return path


main = cli.entry(report, literal=("folder",), places="folder")

if __name__ == "__main__":
    main()
