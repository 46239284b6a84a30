"""The reward of a trajectory: a weighted sum of named terms, scored group by group."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import SupportsFloat, cast

from loupe.errors import UserError, is_number, require_choice, require_int
from loupe.names import did_you_mean, located, nearest
from loupe.records import Group, Trajectory, TrajectoryType

Term = Callable[[Trajectory, Group], float]

GATES = {
    "none": (),
    "group_correct": ("accuracy",),
    "tool_needed": ("accuracy", "tool"),
    "tool_benefit": ("accuracy", "tool"),
}
"""The gates, and the terms that each needs."""

MAX_WEIGHT = 10**6
"""Advantages are float32, in which a greater weight would hide all other terms."""

RENAMED = {"hard": "accuracy"}
"""Former names of terms."""


@dataclass(frozen=True)
class Schedule:
    """A weight that changes linearly from ``start`` to ``end`` over ``steps`` steps, then stays at ``end``."""

    start: float
    end: float
    steps: int

    def at(self, step: int) -> float:
        """The weight at optimizer step ``step`` (0 is the first); exactly ``end`` from ``steps`` on."""
        done = min(step / self.steps, 1.0)
        return (1 - done) * self.start + done * self.end


class CompositeReward:
    """R = sum of weight * term (arXiv 2506.14821: answer, format and tool); every term is logged by itself.

    terms: name -> function of (trajectory, group), the function's dotted name, such as "my_terms.brief", or an object
        whose method ``at(step)`` returns the function.
    weights: name -> number or ``{start, end, steps}`` (see :class:`Schedule`). A term without a weight has weight 0,
        and a term of weight 0 is still computed, as a metric.
    shaping: the terms that guide the policy rather than measure its answer.
    gate: "none". "group_correct": shaping terms count only in groups in which some trajectory has ``accuracy`` > 0.
        Elsewhere they alone would decide the advantages, and the policy would learn to please them on questions it
        cannot answer (verl-recipe #125). "tool_needed": ``tool`` counts only in groups in which no trajectory without a
        call has ``accuracy`` > 0 (the group-level bonus that the authors of arXiv 2506.14821 tried). "tool_benefit":
        ``tool`` counts by what a call gains in the group, which may be less than nothing (:func:`benefit`).
    """

    def __init__(
        self,
        terms: Mapping[str, Term | str],
        weights: Mapping[str, float | Mapping[str, float]],
        shaping: Sequence[str] = (),
        gate: str = "none",
    ):
        for key, value in (("terms", terms), ("weights", weights)):
            if not isinstance(value, Mapping):
                raise UserError(f"reward.{key}={value}: must be a group of settings, one for each term")
        if not isinstance(shaping, list | tuple):
            raise UserError(f"reward.shaping={shaping}: must be a list of terms")
        for name in weights:
            _require_term(f"reward.weights.{name}", name, terms)
        for name in shaping:
            _require_term("reward.shaping", name, terms)
        require_choice("reward.gate", gate, GATES)
        for name in GATES[gate]:
            _require_term(f"reward.gate={gate}", name, terms)
        self.terms = {name: _term(f"reward.terms.{name}", term) for name, term in terms.items()}
        self.shaping = frozenset(shaping)
        self.gate = gate
        self._schedules = {name: _schedule(f"reward.weights.{name}", weights.get(name, 0)) for name in terms}

    def weight(self, name: str, step: int) -> float:
        """The weight of a term, before any gate."""
        return self._schedules[name].at(step)

    def score_group(self, group: Group, step: int) -> None:
        """Fill in ``terms`` (all of them, unweighted) and ``reward`` of every trajectory of ``group``.

        Raises UserError if a term returns anything but a finite number.
        """
        terms = {name: term.at(step) if hasattr(term, "at") else term for name, term in self.terms.items()}
        for trajectory in group.trajectories:
            trajectory.terms = {name: _value(name, term, trajectory, group) for name, term in terms.items()}
        shares = self._shares(group.trajectories)
        weights = {name: self.weight(name, step) * shares.get(name, 1) for name in self.terms}
        for trajectory in group.trajectories:
            trajectory.reward = sum(weight * trajectory.terms[name] for name, weight in weights.items())

    def _shares(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """By how much of its weight each term that the gate acts on counts in a group."""
        correct = [trajectory for trajectory in trajectories if trajectory.terms.get("accuracy", 0) > 0]
        if self.gate == "group_correct":
            return dict.fromkeys(self.shaping, float(bool(correct)))
        if self.gate == "tool_needed":
            return {"tool": float(all(trajectory.type is not TrajectoryType.NO_TOOL for trajectory in correct))}
        return {"tool": benefit(trajectories)} if self.gate == "tool_benefit" else {}


def benefit(trajectories: Sequence[Trajectory]) -> float:
    """The mean accuracy of a group's trajectories with executed calls less that of those without a call, from -1 to 1;
    0 unless there are both.
    """
    with_call, without = (
        [trajectory.terms["accuracy"] for trajectory in trajectories if trajectory.type is kind]
        for kind in (TrajectoryType.TOOL_SUCCESS, TrajectoryType.NO_TOOL)
    )
    return fmean(with_call) - fmean(without) if with_call and without else 0.0


def _term(key: str, term: object) -> Term:
    """``term``, or what it names. Raises UserError if that is neither a function of two arguments nor has ``at``."""
    found = located(key, term) if isinstance(term, str) else term
    if isinstance(found, type):
        raise UserError(f"{key}={term}: is a class; write {{_target_: {found.__module__}.{found.__qualname__}}}")
    if not hasattr(found, "at") and not _takes_two(found):
        raise UserError(f"{key}={term}: must be a function of (trajectory, group)")
    return cast(Term, found)


def _takes_two(function: object) -> bool:
    try:
        inspect.signature(cast(Callable, function)).bind(None, None)
    except (TypeError, ValueError):  # no function, one of other arguments, or one that does not say what it takes
        return False
    return True


def _value(name: str, term: Term, trajectory: Trajectory, group: Group) -> float:
    value = term(trajectory, group)
    if not (isinstance(value, SupportsFloat) and math.isfinite(value)):
        fix = "a term returns a number from 0 to 1"
        raise UserError(f"reward.terms.{name}: returned {value} for the question {group.example.id}; {fix}")
    return float(value)


def _require_term(key: str, name: str, terms: Mapping[str, object]) -> None:
    if name not in terms:
        hint = f"it is called {RENAMED[name]} now" if name in RENAMED else f"known terms: {', '.join(terms)}"
        raise UserError(f"{key}: there is no term {name!r}; {hint}{did_you_mean(nearest(name, terms), '; ')}")


def _schedule(key: str, weight: float | Mapping[str, float]) -> Schedule:
    """A plain number is a constant schedule."""
    if not isinstance(weight, Mapping):
        value = _require_number(key, weight)
        return Schedule(value, value, steps=1)
    if set(weight) != {"start", "end", "steps"}:
        raise UserError(f"{key}={dict(weight)}: a schedule has the keys start, end and steps")
    return Schedule(
        start=_require_number(f"{key}.start", weight["start"]),
        end=_require_number(f"{key}.end", weight["end"]),
        steps=require_int(f"{key}.steps", weight["steps"], minimum=1),
    )


def _require_number(key: str, value: object) -> float:
    if not is_number(value) or abs(value) > MAX_WEIGHT:
        raise UserError(f"{key}={value}: must be a finite number, up to {MAX_WEIGHT} (0 keeps the term as a metric)")
    return float(value)
