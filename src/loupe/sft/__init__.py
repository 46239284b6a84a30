"""Supervised training on exchanges: lessons, traces as files and as the answers of earlier runs, the module."""
