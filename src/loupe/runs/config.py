"""The configuration of a run as plain data."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def resolved(cfg: DictConfig) -> dict:
    """The configuration as a plain dict with every interpolation filled in."""
    return OmegaConf.to_container(cfg, resolve=True)
