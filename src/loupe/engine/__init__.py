"""Sampling groups of trajectories and computing their gradient, with each group's prefix computed once."""
