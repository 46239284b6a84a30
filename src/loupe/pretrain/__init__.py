"""Pretraining of the miniature's base: its lessons, its training and the measurement of its skills."""
