"""From trajectories to numbers: one row per answer, and the figures counted from rows. Pure functions."""
