"""The page that every training and every evaluation leaves, and every sweep; conf/train.yaml names it to Hydra."""

import logging
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from loupe.errors import UserError
from loupe.grpo import distributed
from loupe.pages.contents import anything
from loupe.pages.page import write_page
from loupe.runs.files import RunFile

LOG = logging.getLogger(__name__)
ENTRIES = ("train", "sft", "evaluate")


class Page(Callback):
    """Makes the page of a job when it ends, also of one that failed, and that of a sweep.

    Hydra turns whatever a callback raises into a warning, so a page that cannot be drawn costs no results.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: object) -> None:
        if config.hydra.job.name in ENTRIES:
            draw(Path(config.hydra.runtime.output_dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        if config.hydra.job.name in ENTRIES:
            draw(Path(config.hydra.sweep.dir))


def draw(folder: Path) -> None:
    """Make the page of ``folder``, if there is anything to show. Only the main rank does."""
    if not distributed.is_main() or not anything(folder):
        return
    try:
        LOG.info("to look at it: %s", write_page(folder))
    except (UserError, OSError) as error:
        LOG.warning("no page: %s", error)


def jobs_without_page(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs that have no page."""
    jobs = sorted(path.parent for path in sweep.glob("*/.hydra"))
    return [job for job in jobs if not (job / RunFile.REPORT).exists()]
