"""Recorded results of experiments, made tidy and drawn."""
