"""Keeping a policy from writing a tag, whatever tokens its tokenizer makes of it."""

from collections.abc import Sequence

import torch

from loupe.engine.policy import Policy

OTHER_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


class Forbidden:
    """Bans the tokens that would begin ``<tag>``.

    A tag begins with the characters that tell it from all other tags, such as ``<to`` of ``<tool>``. Up to there the
    policy can still write another one; a ban on later tokens would leave it in the middle of a tag.
    """

    def __init__(self, policy: Policy, tag: str):
        prefixes = (f"<{tag}>"[:length] for length in range(1, len(tag) + 3))
        self.beginning = next(text for text in prefixes if not any(other.startswith(text) for other in OTHER_TAGS))
        pieces = [policy.tokenizer.decode([token]) for token in range(len(policy.tokenizer))]
        self._bans = torch.zeros(len(self.beginning), len(policy.ban))
        for written, ban in enumerate(self._bans):  # after text that ends with so many characters of the beginning
            before = self.beginning[:written]
            ban[[token for token, piece in enumerate(pieces) if self.beginning in before + piece]] = -torch.inf

    def applied(self, logp: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        """Log-probabilities [R, V] without the banned tokens, normalized again. texts: what precedes each row."""
        self._bans = self._bans.to(logp.device)
        return torch.log_softmax(logp + self._bans[[self._written(text) for text in texts]], dim=-1)

    def _written(self, text: str) -> int:
        """How many characters of the beginning the text ends with."""
        return next(n for n in reversed(range(len(self.beginning))) if text.endswith(self.beginning[:n]))
