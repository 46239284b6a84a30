"""The pictures of recorded trajectories: each question's once, and what the tools showed, as the policy saw it."""

import hashlib
import io
import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from loupe.atomic import SUFFIX
from loupe.engine.rollout import GroupRollout
from loupe.errors import BadExample, require_number
from loupe.metrics.rows import Rows
from loupe.pictures import FILTER, REDUCING_GAP, open_picture
from loupe.records import Example, Group, Prompt

LOG = logging.getLogger(__name__)
LONGEST = 640
LOSSLESS_PIXELS = 256 * 256
NOTHING: dict = {"picture": None, "size": None, "shown": [], "targets": []}


@dataclass(eq=False)
class PictureStore:
    """Keeps pictures in ``folder`` until they take ``megabytes``; the last question may exceed that by its own.

    A file is named after its content, so that a picture is stored once, however often its question is asked.
    """

    folder: Path
    megabytes: float
    _stored: dict[int, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        require_number("report.megabytes", self.megabytes, 0)

    @cached_property
    def bytes(self) -> int:
        """What the folder holds, counted when it is first needed: until then, an earlier run may be there."""
        return sum(file.stat().st_size for file in self.folder.glob("*.*g"))

    def with_pictures(self, rows: Rows, groups: list[Group], rollout: GroupRollout, share: float = 1.0) -> Rows:
        """The rows of these groups with the columns of ``NOTHING`` filled in, as long as there is room.

        picture: the file of the question's picture; size: its width and height before it was reduced. shown: the files
        of the pictures that calls showed. targets: the boxes that the question is about. share: the part of
        ``megabytes`` that may be used up.
        """
        columns = [column for group in groups for column in self._columns(group, rollout, share * self.megabytes)]
        return [row | column for row, column in zip(rows, columns, strict=True)]

    def _columns(self, group: Group, rollout: GroupRollout, megabytes: float) -> list[dict]:
        nothing = [NOTHING] * len(group.trajectories)
        if self.bytes >= megabytes * 1e6:
            return nothing
        example = group.example
        try:
            if (prompt := whole_prompt(group, rollout)) is None:
                return nothing
            picture = prompt.require_picture() if example.zoom_image is None else open_picture(example.image)
        except BadExample as error:
            LOG.warning("no picture is kept: %s", error)
            return nothing
        targets = [] if example.zoom_image else [list(box) for box in example.target_boxes]
        asked = {"picture": self._question(example, picture), "size": list(picture.size), "targets": targets}
        shown = [rollout.environment.shown(trajectory, prompt) for trajectory in group.trajectories]
        if self.bytes >= self.megabytes * 1e6:
            LOG.info("report.megabytes=%g is reached: later answers are recorded without pictures", self.megabytes)
        return [asked | {"shown": [self._keep(reduced(crop)) for crop in crops]} for crops in shown]

    def _question(self, example: Example, picture: Image.Image) -> str:
        """The file of the question's picture, which is made once, however often the question is asked."""
        try:
            key = hash((example.id, example.image))
        except TypeError:  # a picture of the user's own kind
            return self._keep(reduced(picture))
        if key not in self._stored:
            self._stored[key] = self._keep(reduced(picture))
        return self._stored[key]

    def _keep(self, picture: Image.Image) -> str:
        """Store a picture and return the name of its file."""
        content, kind = encoded(picture)
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + SUFFIX)
            partial.write_bytes(content)
            partial.replace(path)  # a process that is killed leaves no picture that is cut off
            self.bytes += len(content)
        return path.name


def share(split: str, done: float) -> float:
    """How far the folder of a run may be filled, so that the first answers leave room for later ones: by the answers
    before training a quarter, then in step with training up to three quarters, by those after training the whole.

    done: the share of the training steps that are taken before the next record.
    """
    return {"before": 0.25, "after": 1.0}.get(split, 0.25 + 0.5 * min(1.0, done))


def whole_prompt(group: Group, rollout: GroupRollout) -> Prompt | None:
    """The group's prompt with its pictures, opened again for a light group; None if they are on another rank."""
    if group.prompt.picture is not None:
        return group.prompt
    return rollout.dialogue.prompt(group.example) if group.example.image else None


def reduced(picture: Image.Image) -> Image.Image:
    """``picture`` with at most ``LONGEST`` pixels on each side."""
    scale = min(1.0, LONGEST / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, FILTER, reducing_gap=REDUCING_GAP)


def encoded(picture: Image.Image) -> tuple[bytes, str]:
    """The content and the suffix of a file: small pictures keep every pixel (PNG), larger ones become JPEG."""
    buffer, small = io.BytesIO(), picture.width * picture.height <= LOSSLESS_PIXELS
    if small:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), "png" if small else "jpg"
