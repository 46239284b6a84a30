"""The GRPO training loop: advantages, losses, optimizer steps, several processes."""
