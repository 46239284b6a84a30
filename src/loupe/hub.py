"""The Hugging Face hub, or what was downloaded from it before."""

from __future__ import annotations

import urllib.error
import urllib.request
from functools import cache

from huggingface_hub import constants

PATIENCE = 5.0
"""Seconds to wait for the hub; its own clients try for most of a minute."""


def prepare() -> None:
    """To be called before the hub is used: if it does not answer, only what is already here is looked at."""
    constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT)


@cache
def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True  # it answered, if not kindly
    except OSError:
        return False
    return True
