"""The loggers that a run's configuration chooses, besides the files that every run writes."""

from pathlib import Path

from lightning.pytorch.loggers import Logger

from loupe.logs.wandb_logger import RunWandbLogger


def loggers(folder: str | Path, run_config: dict | None = None, **settings) -> list[Logger]:
    """W&B's logger, which may be off, and any others.

    settings: the other loggers, each under a name, and the arguments of ``RunWandbLogger``.
    """
    others = {name: logger for name, logger in settings.items() if isinstance(logger, Logger)}
    of_wandb = {name: value for name, value in settings.items() if name not in others}
    return [RunWandbLogger(folder=folder, run_config=run_config, **of_wandb), *others.values()]
