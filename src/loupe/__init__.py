"""Loupe: reinforcement learning that teaches small vision-language models when and where to zoom."""
