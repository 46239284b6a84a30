"""The conditions under which a policy answers the questions of one split (conf/judging.yaml defines them)."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loupe.data.datamodule import LoupeDataModule, Questions, subset
from loupe.engine.decoder import leaves_a_thought
from loupe.engine.rollout import GroupRollout
from loupe.errors import UserError, require_choice, require_int
from loupe.evaluation.crops import SOURCES, Recropped
from loupe.evaluation.journal import Outcome, digest
from loupe.metrics.rows import Rows, answer_rows
from loupe.records import Group
from loupe.rewards.composite import CompositeReward

LOG = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
Keep = Callable[[Rows, list[Group], GroupRollout], Rows]
TOOL = (True, False, "described")
"""Whether the prompt explains the tool; "described": it does, but the policy cannot begin a call."""
FIRST = (None, "call", "answer")
"""What the policy must write after its first thought; None: whatever it chooses."""
DEFAULTS = {"tool": True, "crops": "own", "samples": None, "first": None, "prompt": {}}


@dataclass(frozen=True)
class Condition:
    """One way to ask the questions.

    samples: number of sampled answers to each; None for one greedy answer. first: the tag that must follow the first
    thought; None for any.
    """

    name: str
    rollout: GroupRollout
    examples: Questions
    samples: int | None = None
    first: str | None = None

    def answer(
        self, indices: Sequence[int], batch_size: int, reward: CompositeReward, keep: Keep = lambda rows, *_: rows
    ) -> Iterator[list[Outcome]]:
        """Answer and score the questions at these indices, a batch at a time. keep: adds pictures to the rows."""
        factor, merge = self.rollout.policy.factor, self.rollout.policy.merge
        for start in range(0, len(indices), batch_size):
            batch_indices = indices[start : start + batch_size]
            batch = [self.examples[i] for i in batch_indices]
            groups, errors = self.rollout(batch, self.samples or 1, 0, self.samples is None, self.first)
            answered = {id(group.example): group for group in groups}
            reasons = iter(errors)
            outcomes = []
            for index, example in zip(batch_indices, batch, strict=True):
                if group := answered.get(id(example)):
                    reward.score_group(group, step=0)
                    rows = answer_rows([group], self.name, factor, merge)
                    outcomes.append(Outcome(self.name, index, keep(rows, [group], self.rollout), None, digest(example)))
                else:
                    outcomes.append(Outcome(self.name, index, [], str(next(reasons))))
            yield outcomes


def questions(data: LoupeDataModule, split: str, n: int | None) -> Questions:
    """The first ``n`` questions of a split of ``data``, or all of them."""
    require_choice("evaluate.split", split, SPLITS)
    examples = getattr(data, split)
    if examples is None:
        has = ", ".join(name for name in SPLITS if getattr(data, name) is not None)
        raise UserError(f"evaluate.split={split}: this data set has no such split; it has {has}")
    wanted = len(examples) if n is None else min(require_int("evaluate.n", n, 1), len(examples))
    return subset(examples, range(wanted))


def conditions(
    asked: Sequence[str], known: dict[str, dict], examples: Questions, build: Callable[[dict], GroupRollout]
) -> list[Condition]:
    """The conditions named in ``asked``, in this order.

    known: the settings of each condition: tool (one of ``TOOL``), crops (one of ``crops.SOURCES``), samples (null:
    greedy; 0: omit the condition), first (one of ``FIRST``), prompt (changes to it). build: makes the rollout of a
    condition from its settings. Conditions that need a tool are omitted if there is none.
    """
    if not isinstance(asked, Sequence):
        raise UserError(f"evaluate.conditions={asked}: must be a list of conditions, such as [greedy]")
    made: list[Condition] = []
    seen: list[dict] = []
    for name in [asked] if isinstance(asked, str) else asked:
        settings = _checked(name, known)
        if settings["samples"] == 0:
            continue
        rollout = build(settings)
        _require_thought(name, settings["first"], rollout.dialogue.prefill)
        identity = settings | {"tool": rollout.dialogue.tools.max_calls and settings["tool"]}
        if reason := _pointless(identity, rollout, examples, seen):
            LOG.warning("condition %s: omitted because %s", name, reason)
            continue
        seen.append(identity)
        source = SOURCES[settings["crops"]]
        cropped = Recropped(examples, source) if source else examples
        first = rollout.dialogue.tools.form.tag if settings["first"] == "call" else settings["first"]
        made.append(Condition(name, rollout, cropped, settings["samples"], first))
    if not made:
        raise UserError(f"evaluate.conditions={list(asked)}: no condition is left; see evaluate.samples and tool")
    return made


def _pointless(identity: dict, rollout: GroupRollout, examples: Questions, seen: list[dict]) -> str:
    """Why a condition is pointless; empty if it is not."""
    tools = rollout.dialogue.tools
    forced = identity["first"] == "call" or f"<{tools.form.tag}>" in rollout.dialogue.prefill
    if (forced or identity["crops"] != "own") and (tools.forbidden_tag or not tools.max_calls):
        return "there is no tool to call"
    if identity["crops"] == "shuffled" and all(examples[i].image == examples[0].image for i in range(len(examples))):
        return "there is no other picture"
    return "it is the same as an earlier one" if identity in seen else ""


def _require_thought(name: str, first: str | None, prefill: str) -> None:
    """Raise UserError if something must follow the first thought, but the prefill has left no thought to write."""
    if first and not leaves_a_thought(prefill):
        raise UserError(
            f"evaluate.known.{name}: first={first} needs a thought that the policy ends; end prompt.prefill within it"
        )


def _checked(name: str, known: dict[str, dict]) -> dict:
    """The settings of a condition, each filled in and checked."""
    if name not in known:
        raise UserError(f"evaluate.conditions: no condition {name}; there are {', '.join(known)}")
    where = f"evaluate.known.{name}"
    if not isinstance(known[name], dict):
        raise UserError(f"{where}={known[name]}: must be a group of settings; {{}} for the defaults")
    if unknown := known[name].keys() - DEFAULTS:
        raise UserError(f"{where}.{min(unknown)}: unknown; known are {', '.join(sorted(DEFAULTS))}")
    settings = DEFAULTS | known[name]
    if not isinstance(settings["prompt"], dict):
        raise UserError(f"{where}.prompt={settings['prompt']}: must be a group of settings, such as {{prefill: text}}")
    require_choice(f"{where}.tool", settings["tool"], TOOL)
    require_choice(f"{where}.crops", settings["crops"], SOURCES)
    require_choice(f"{where}.first", settings["first"], FIRST)
    if settings["samples"] is not None:
        require_int("evaluate.samples", settings["samples"], 0)
    return settings
