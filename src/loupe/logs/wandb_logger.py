"""Weights & Biases: the same metrics as in metrics.jsonl, under the same keys, and tables with pictures."""

import logging
import netrc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from loupe.errors import UserError, require_choice
from loupe.logs.jsonl import FolderLogger
from loupe.metrics.training import Histogram

if TYPE_CHECKING:  # imported when a W&B run starts, so that a run without one does not need the package
    import wandb

LOG = logging.getLogger(__name__)
MODES = ("auto", "online", "offline", "disabled")
EXACT = 256 * 256  # pixels of the largest picture that is stored without loss
TAG = 64  # characters that W&B takes in a tag
STEP = "trainer/global_step"  # over which W&B charts all other keys; Lightning's own logger calls it the same


class RunWandbLogger(FolderLogger):
    """One W&B run per run of ours, with its files under ``folder``/wandb. A resumed run continues it.

    mode: "online", "offline" (upload later with ``wandb sync``), "disabled", or "auto": the value of WANDB_MODE or,
        if that is unset, online with an API key (WANDB_API_KEY or netrc) and offline without.
    entity: the user or team that the run belongs to; by default that of the API key. group, name, tags, notes: as in
        ``wandb.init``.
    run_config: the resolved configuration, as plain dicts (not named ``config``, which Hydra's instantiate reserves).

    Lightning's WandbLogger gives no public access to the arguments of ``wandb.init`` or to the end of a run, but one
    process may run several jobs, and each needs a W&B run of its own.

    Refused access ends a job when the W&B run starts. Whatever goes wrong with W&B after that costs no more than the
    rest of the W&B run, and gets a warning.
    """

    def __init__(
        self,
        mode: str,
        folder: str | Path,
        project: str,
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        run_config: dict | None = None,
    ):
        require_choice("logger.mode", mode, MODES)
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
            require_choice("WANDB_MODE", mode, MODES[1:])
        if mode != "disabled" and not find_spec("wandb"):
            raise UserError("logger.mode: wandb is not installed; pip install wandb, or choose logger=none")
        if isinstance(tags, str) or not all(isinstance(tag, str) and 0 < len(tag) <= TAG for tag in tags):
            raise UserError(f"logger.tags={tags}: must be a list of texts of 1 to {TAG} characters, such as [pilot]")
        super().__init__(folder)
        self.mode, self.project = mode, project
        self._options: dict[str, Any] = {
            **{"mode": mode, "entity": entity, "group": group, "name": name},
            **{"tags": list(tags), "notes": notes, "config": run_config},
        }
        self._run: wandb.Run | None = None
        self._tables: dict[str, wandb.Table] = {}
        self._failed, self._off = False, mode == "disabled"

    @property
    def name(self) -> str:
        return self.project

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, which starts when it is first used; None if W&B is off. Raises UserError for refused access."""
        if self._run is None and not self._off:
            import wandb

            # The only message worth printing is the address of an online run.
            settings = wandb.Settings(console="off", quiet=True, silent=self.mode != "online")
            options = {"project": self.project, "dir": self.folder, "settings": settings} | self._options
            try:
                self._run = wandb.init(**options, **self._earlier())
            except wandb.Error as error:
                reason = " ".join(str(error).split()).rstrip(".")
                raise UserError(f"logger.mode={self.mode}: {reason}; or choose logger.mode=offline") from error
            self._run.define_metric(STEP)
            self._run.define_metric("*", step_metric=STEP, step_sync=True)
        return self._run

    def _earlier(self) -> dict[str, str]:
        """What makes W&B continue the run of which the folder already holds a part: its id, from W&B's newest file.

        W&B numbers what is logged by itself, so it takes steps that were logged before the interruption a second time.
        """
        parts = (self.folder / "wandb").glob("*run-*/run-*.wandb")  # [offline-]run-<time>-<id>/run-<id>.wandb
        newest = max(parts, key=lambda path: path.parent.name.partition("run-")[2], default=None)
        return {"id": newest.stem.removeprefix("run-"), "resume": "allow"} if newest else {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, object], step: int) -> None:
        """Log under the keys of metrics.jsonl, charted over the training step."""
        if not self._off:
            run = self.experiment
            with self._survived():
                run.log({key: _for_wandb(value) for key, value in metrics.items()} | {STEP: step})

    @rank_zero_only
    def log_rows(self, key: str, columns: list[str], rows: Iterable[Sequence], step: int) -> None:
        """Add rows to the table ``key`` of this run; cells may be pictures (PIL), of which large ones become JPEG.

        Only the new rows are written and uploaded. In a resumed run they continue the table.
        """
        if self._off:
            return
        import wandb

        given = os.environ.get("WANDB_DATA_DIR")  # where W&B stages pictures for upload: by default in the user's home
        os.environ["WANDB_DATA_DIR"] = given or str(self.folder / "wandb")
        try:
            with self._survived():
                table = self._tables.setdefault(key, wandb.Table(columns=columns, log_mode="INCREMENTAL"))
                for row in rows:
                    table.add_data(*map(_for_wandb, row))
                self.log_metrics({key: table}, step)
        finally:
            if given is None:
                del os.environ["WANDB_DATA_DIR"]

    def finalize(self, status: str) -> None:
        """Note the outcome. Lightning calls this after each fit or test, and the W&B run outlasts them."""
        self._failed = status != "success"

    def finish(self) -> None:
        """End the W&B run, so that the next job in this process gets a run of its own."""
        if self._run is not None:
            with self._survived():
                self._run.finish(exit_code=int(self._failed))
            self._run, self._tables = None, {}

    @contextmanager
    def _survived(self) -> Iterator[None]:
        """Give W&B up, with a warning, whatever it raises: the errors of its dead process have no common type."""
        try:
            yield
        except Exception as error:
            import wandb

            self._off, self._run = True, None
            LOG.warning("W&B stopped working (%r); the rest of this run is logged to %s only", error, self.folder)
            with suppress(Exception):
                wandb.teardown()  # the next job of this process starts W&B anew


def has_api_key() -> bool:
    """Whether W&B would find an API key without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def _for_wandb(value: object) -> object:
    import wandb

    if isinstance(value, Histogram):
        return wandb.Histogram(np_histogram=(value.counts, value.edges))
    if isinstance(value, Image.Image):
        return wandb.Image(value, file_type="png" if value.width * value.height <= EXACT else "jpg")
    return value
