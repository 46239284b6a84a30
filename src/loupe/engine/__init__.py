"""Sampling groups of trajectories and differentiating them, with each group's prefix computed once."""
