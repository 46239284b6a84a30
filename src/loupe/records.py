"""The records that flow through the project: Example -> Prompt -> Trajectory -> Group.

Shapes, in names and docstrings everywhere: P prompts (questions) in a batch; G trajectories per group, one group per
prompt; R = P * G trajectories (rows) in a batch; T tokens; V vocabulary; D hidden width.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import torch
from PIL import Image

from loupe.geometry import Box, Frame, Point, Size, View
from loupe.pictures import Renderable
from loupe.tags import tagged


@dataclass(frozen=True)
class Example:
    """One row of a data set: a question about a picture. No tensors, no open files.

    image: a file, the encoded bytes, or something that draws itself; opened late (``pictures.open_picture``).
    references: the reference answers (10 for VQA-style sets); with options, the letter of the correct one.
    target_boxes: the objects that the question is about, in original pixels, where they are known.
    options: the texts of the options of a multiple-choice question, A first.
    subset, cycle: names to report scores by, e.g. "small"; ``cycle`` is the rotation of the options.
    cluster: shared by rows that ask one question in several forms; intervals resample them together.
    zoom_image: the picture that the tool crops, if it is not ``image``. For controls such as shuffled crops.
    answer_box: the answer in original pixels, where it is a box; there are no references then.
    earlier_images: further pictures, shown before ``image``; the tool and boxes refer to ``image`` alone.
    metric: how an answer in words is scored, a key of ``rewards.terms.SCORES``; unused with options or an answer box.
    """

    id: str
    image: Path | bytes | Renderable
    question: str
    references: tuple[str, ...]
    target_boxes: tuple[Box, ...] = ()
    options: tuple[str, ...] = ()
    subset: str | None = None
    cycle: str | None = None
    cluster: str | None = None
    zoom_image: Path | bytes | Renderable | None = None
    answer_box: Box | None = None
    earlier_images: tuple[Path | bytes | Renderable, ...] = ()
    metric: str = "vqa"

    def __post_init__(self) -> None:
        given: object = self.references
        if isinstance(given, str):  # its letters would be taken for references
            raise TypeError(f"references={given!r}: must be a tuple of texts, such as ({given!r},)")


@dataclass
class ImagePatches:
    """One picture as input to the vision tower.

    pixels: float32 [h * w, channels * temporal_patch * patch * patch]
    grid: (1, h, w) in patches; the language model sees h * w / merge**2 placeholder tokens.
    features: the output of a frozen vision tower, kept from the rollout for the update (``Policy.encode``).
    shown: the picture itself, as the policy sees it; None in a light copy.
    """

    pixels: torch.Tensor
    grid: tuple[int, int, int]
    features: list[torch.Tensor] | None = field(default=None, compare=False, repr=False)
    shown: Image.Image | None = field(default=None, compare=False, repr=False)

    def tokens(self, merge: int) -> int:
        """Placeholder tokens of this picture, for a spatial merge size of ``merge``."""
        t, h, w = self.grid
        return t * (h // merge) * (w // merge)

    def light(self) -> "ImagePatches":
        """The same picture without its pixels."""
        return ImagePatches(torch.empty(0), self.grid)


@dataclass(frozen=True)
class Prompt:
    """The part that all trajectories of a group share, up to where the policy begins to write.

    ids: token ids, image placeholders included. images: the pictures behind the placeholders, in order.
    picture: what tools act on, at full resolution: the original or ``Example.zoom_image``; None in a light copy.
    shown_size: (width, height) of the picture as the model sees it, as stated in the prompt. frame: the coordinate
    frame of boxes in an answer. prefill: the beginning of the first turn, if the policy is given one; its tokens are
    the last ones of ``ids``. earlier: the pictures shown before, as tools find them.
    """

    ids: list[int]
    images: list[ImagePatches]
    picture: Image.Image | None
    shown_size: Size
    frame: Frame
    prefill: str = ""
    earlier: tuple[View, ...] = ()

    def require_picture(self) -> Image.Image:
        """``picture``. Raises ValueError for a light copy."""
        if self.picture is None:
            raise ValueError("a light copy of a prompt has no picture")
        return self.picture

    def views(self) -> list[View]:
        """The pictures shown, as tools find them; the question is about the last one."""
        picture = self.require_picture()
        frame = replace(self.frame, original=picture.size)  # also where tools act on another picture than the one shown
        return [*self.earlier, View(picture, self.shown_size, frame, (0, 0, *picture.size))]

    def light(self) -> "Prompt":
        """The same prompt without pictures and tokens."""
        return replace(self, ids=[], images=[image.light() for image in self.images], picture=None, earlier=())


class TrajectoryType(StrEnum):
    NO_TOOL = "no_tool"  # no call attempted
    TOOL_SUCCESS = "tool_success"  # at least one call executed
    TOOL_FAIL = "tool_fail"  # a call attempted, none executed


class StopReason(StrEnum):
    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    OUT_OF_TOKENS = "out_of_tokens"
    OUT_OF_TURNS = "out_of_turns"


OK = "ok"


@dataclass(frozen=True)
class ToolEvent:
    """One attempted call. ``status`` is "ok" or the kind of failure (``tools.errors``).

    tool, arguments, image: the name, the arguments and the number of the picture in the call, if it could be read.
    text: what the policy was told: the text of the result, or why the call failed. keypoint, box: the point that was
    named and the part that was shown, in pixels of the question's picture. pictured: whether a picture was shown.
    """

    status: str
    tool: str | None = None
    arguments: dict | None = None
    image: int | None = None
    text: str = ""
    keypoint: Point | None = None
    box: Box | None = None
    pictured: bool = False


@dataclass
class Trajectory:
    """One sampled continuation of a prompt. Every token is marked with its author as it is appended.

    For a call that was executed (I is an image placeholder; log-probabilities rounded)::

        ids       <think> zoom </think> <tool> .. </tool> <|im_end|> .. <|vision_start|> I I <|vision_end|> ..
        sampled      1     1      1       1    1     1        0      0        0          0 0       0        0
        logprobs   -.1   -.7    -.0     -.3  -.9   -.0        0      0        0          0 0       0        0

    and then the answer turn, sampled again. ``images`` holds the observation's picture once. sample: index within the
    group. turns: the decoded text of each, without the end-of-turn token; the first begins with the prompt's prefill.
    turn_lengths: in tokens. entropies: of what each token was sampled from, in nats, if the decoder tells them. forced:
    the tag whose beginning was not sampled. free: False where ``rollout.balance`` calls for such a tag, even if none
    could be forced. Filled in later: terms and all that follow.
    """

    sample: int
    ids: list[int] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    images: list[ImagePatches] = field(default_factory=list)
    events: list[ToolEvent] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    turn_lengths: list[int] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    stop: StopReason | None = None
    forced: str | None = None
    free: bool = True
    terms: dict[str, float] = field(default_factory=dict)
    reward: float = 0.0
    advantage: float = 0.0
    token_weight: float = 0.0
    old_logprobs: list[float] | None = None
    ref_logprobs: list[float] | None = None

    def append_sampled(self, token: int, logprob: float, entropy: float | None) -> None:
        """Add a token that the policy sampled; entropy: of the distribution that it was drawn from, if it is known."""
        self.ids.append(token)
        self.sampled.append(1)
        self.logprobs.append(logprob)
        self.entropies += [] if entropy is None else [entropy]

    def append_written(self, tokens: list[int], images: list[ImagePatches]) -> None:
        """Add tokens that the environment wrote, and the pictures behind their placeholders."""
        self.ids.extend(tokens)
        self.sampled.extend([0] * len(tokens))
        self.logprobs.extend([0.0] * len(tokens))
        self.images.extend(images)

    @property
    def type(self) -> TrajectoryType:
        """The trajectory type by which advantages are reported."""
        if any(event.status == OK for event in self.events):
            return TrajectoryType.TOOL_SUCCESS
        return TrajectoryType.TOOL_FAIL if self.events else TrajectoryType.NO_TOOL

    @property
    def text(self) -> str:
        """Everything the policy wrote, turns joined by a line break."""
        return "\n".join(self.turns)

    @property
    def answer(self) -> str | None:
        """The content of the last turn's ``<answer>``, stripped; None if there is none."""
        found = tagged(self.turns[-1], "answer") if self.turns else []
        return found[-1].strip() if found else None

    @property
    def crops(self) -> list[Box]:
        """The parts of the question's picture that were shown, in its pixels."""
        return [event.box for event in self.events if event.box]

    @property
    def n_sampled(self) -> int:
        return sum(self.sampled)

    @property
    def sampled_logprobs(self) -> list[float]:
        """Log-probabilities of the sampled tokens alone."""
        return [logprob for logprob, sampled in zip(self.logprobs, self.sampled, strict=True) if sampled]


@dataclass
class Group:
    """One question and its trajectories: the unit of sampling, scoring, normalizing and the gradient."""

    example: Example
    prompt: Prompt
    trajectories: list[Trajectory]

    @property
    def equal_rewards(self) -> bool:
        """Whether all rewards are equal in float32, as advantages are, so that none of the trajectories is better."""
        return torch.tensor([trajectory.reward for trajectory in self.trajectories]).unique().numel() == 1

    def light(self) -> "Group":
        """A copy without pictures, small enough to keep thousands: all that metrics need."""
        trajectories = [replace(t, images=[image.light() for image in t.images]) for t in self.trajectories]
        return Group(self.example, self.prompt.light(), trajectories)
