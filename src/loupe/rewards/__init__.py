"""Rewards: answer normalisation, the named terms, and their weighted sum."""
