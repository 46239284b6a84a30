import pytest

from loupe.vllm import requirements
from loupe.vllm import rollout as vllm_rollout


@pytest.fixture(autouse=True)
def vllm_is_installed(monkeypatch):
    monkeypatch.setattr(requirements, "installed", lambda: "0.32.0")
    vllm_rollout.decoder_of.cache_clear()
