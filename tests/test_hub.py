import pytest

from loupe import hub
from loupe.errors import UserError


def test_an_address_without_a_scheme_is_named():
    with pytest.raises(UserError, match=r"HF_ENDPOINT=hf-mirror\.example: not a web address; begin it with https://"):
        hub._answers("hf-mirror.example")
