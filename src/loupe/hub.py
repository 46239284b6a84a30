"""Access to the Hugging Face hub, with its local cache as the fallback."""

import re
import urllib.error
import urllib.request
from functools import cache

from huggingface_hub import constants

from loupe.errors import UserError

ID = re.compile(r"\w[\w.-]*/[\w.-]+")
PATIENCE = 5.0
"""Seconds to wait for the hub; its own clients retry for most of a minute."""


def prepare() -> None:
    """Call this before using the hub: if it does not answer, its clients go offline and use only the local cache."""
    constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT)


def is_id(name: object) -> bool:
    """Whether ``name`` has the form of an id on the hub: owner/name."""
    return isinstance(name, str) and bool(ID.fullmatch(name))


@cache
def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True  # an error status is an answer, too
    except OSError:
        return False
    except ValueError as error:
        raise UserError(f"HF_ENDPOINT={endpoint}: not a web address; begin it with https://") from error
    return True
