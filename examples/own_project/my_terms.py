"""Terms of the reward. Each is a function of a trajectory and its group that returns a number."""

from loupe.records import Group, Trajectory


def near(trajectory: Trajectory, group: Group) -> float:
    """1 for the correct reading, a tenth less for each step beside it, 0 without a reading."""
    answer = trajectory.answer or ""
    return 1 - abs(int(answer) - int(group.example.references[0])) / 10 if answer in tuple("0123456789") else 0.0


def shortest(trajectory: Trajectory, group: Group) -> float:
    """1 for the shortest trajectory of its group; a term may look at the others."""
    return float(trajectory.n_sampled == min(other.n_sampled for other in group.trajectories))
