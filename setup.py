"""The dependencies are those of requirements.txt; everything else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import setup

LINES = (Path(__file__).parent / "requirements.txt").read_text().splitlines()
setup(install_requires=[line for line in LINES if line and not line.startswith(("#", "-"))])
