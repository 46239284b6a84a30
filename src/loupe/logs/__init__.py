"""Loggers that write metrics and trajectories (JSON lines, W&B), and functions that read them back."""
