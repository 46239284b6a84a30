"""Rewards: answer normalization, the named terms, and their weighted sum."""
