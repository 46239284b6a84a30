"""Where numbers and trajectories go (JSON lines, W&B), and reading them back."""
