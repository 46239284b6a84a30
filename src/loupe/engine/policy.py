"""The policy: a vision-language model of transformers with its tokenizer and image processor.

It turns pictures into patches, extends a context by packed tokens and scores tokens; it is independent of groups, tools
and rewards. The rollout and the update use the same object, so that both see one distribution.
"""

import copy
from contextlib import AbstractContextManager
from types import SimpleNamespace

import torch
from peft import PeftModel
from PIL import Image
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from loupe.engine.packing import PREFIX, Context, Packed, Segment, mrope_positions, pack, visibility
from loupe.errors import require_int
from loupe.records import ImagePatches, Prompt

DEEPER = "deepstack_features"
"""The attribute with the features of deeper layers, which some models (Qwen3-VL) have."""


class Policy(nn.Module):
    """A model that samples and scores tokens.

    model: a ``*ForConditionalGeneration`` of transformers, possibly wrapped by peft.
    logits_chunk: rows of the logits matrix [rows, V] in memory at a time.
    """

    ban: torch.Tensor

    def __init__(self, model: PreTrainedModel | PeftModel, tokenizer, image_processor, logits_chunk: int = 256):
        super().__init__()
        self.model: PreTrainedModel | PeftModel = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.logits_chunk = require_int("model.logits_chunk", logits_chunk, 1)
        self.image_token = self.backbone.config.image_token_id
        self.pad_token = tokenizer.pad_token_id
        self.end_of_turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.merge = image_processor.merge_size
        self.factor = image_processor.patch_size * image_processor.merge_size
        vocabulary = self.backbone.config.text_config.vocab_size
        self.banned = banned_tokens(tokenizer, vocabulary, self.end_of_turn)
        ban = torch.zeros(vocabulary)
        ban[sorted(self.banned)] = -torch.inf
        self.register_buffer("ban", ban, persistent=False)

    @property
    def backbone(self) -> PreTrainedModel:
        """The transformers model; with peft, its layers contain the adapter."""
        return self.model.get_base_model() if self.has_adapter else self.model

    @property
    def has_adapter(self) -> bool:
        return isinstance(self.model, PeftModel)

    @property
    def device(self) -> torch.device:
        return self.ban.device

    def patches(self, image: Image.Image) -> ImagePatches:
        """A picture as input to the vision tower. Raises ValueError unless its sides are multiples of ``factor``."""
        if image.width % self.factor or image.height % self.factor:
            raise ValueError(f"picture of {image.width}x{image.height} is not on the grid of {self.factor}")
        out = self.image_processor(images=[image], do_resize=False, return_tensors="pt")
        return ImagePatches(out["pixel_values"], tuple(out["image_grid_thw"][0].tolist()))

    def segment(self, owner: int, ids: list[int], images: list[ImagePatches], start: int) -> tuple[Segment, int]:
        """Tokens that begin at position ``start``, to be packed, and the position of the token after them."""
        positions, after = mrope_positions(ids, images, start, self.image_token, self.merge)
        return Segment(owner, ids, positions, images), after

    def extend(self, context: Context, packed: Packed) -> torch.Tensor:
        """Compute the packed tokens after ``context`` and add them to it. Returns their hidden states [P, T, D]."""
        pictures = {"mm_encoder_outputs": {"image": self.encode(packed.images)}} if packed.images else {}
        out = self.backbone.model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask=visibility(packed.owners, context.owners),
            past_key_values=context.cache,
            use_cache=True,
            **pictures,
        )
        context.owners = torch.cat([context.owners, packed.owners], dim=1)
        return out.last_hidden_state

    def encode(self, images: list[ImagePatches]) -> SimpleNamespace:
        """The output of the vision tower in transformers' form. A frozen tower processes each picture only once."""
        if any(parameter.requires_grad for parameter in self.backbone.model.visual.parameters()):
            features = self._features(images)
        else:
            with torch.no_grad():
                for image in images:
                    image.features = image.features or self._features([image])[0]
            features = [image.features for image in images if image.features]
        first, *deeper = zip(*features, strict=True)
        return SimpleNamespace(pooler_output=first, **{DEEPER: deeper})

    def _features(self, images: list[ImagePatches]) -> list[list[torch.Tensor]]:
        """For each picture, the features [tokens, D] that replace its placeholders, then those of deeper layers."""
        pixels = torch.cat([image.pixels for image in images]).to(self.device, self.backbone.dtype)
        grid = torch.tensor([image.grid for image in images], device=self.device)
        out = self.backbone.model.get_image_features(pixels, grid, return_dict=True)
        return [list(levels) for levels in zip(out.pooler_output, *getattr(out, DEEPER, ()), strict=True)]

    def log_distribution(self, states: torch.Tensor, temperature: float) -> torch.Tensor:
        """Log-probabilities [N, V] (float32 or better) over the next token, for hidden states [N, D].

        Placeholder tokens are banned (-inf) before normalizing, in the rollout and in the update alike.
        """
        logits = self.backbone.lm_head(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        return torch.log_softmax(logits + self.ban, dim=-1)

    def token_logprobs(self, states: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
        """Log-probability [N] of each token [N], given the hidden state before it [N, D].

        It works in chunks that the backward pass recomputes, so that no [N, V] matrix is ever in memory.
        """
        chunks = zip(states.split(self.logits_chunk), tokens.split(self.logits_chunk), strict=True)
        return torch.cat([checkpoint(self._chunk, *chunk, temperature, use_reentrant=False) for chunk in chunks])

    def _chunk(self, states: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
        return self.log_distribution(states, temperature).gather(1, tokens[:, None])[:, 0]

    def frozen_copy(self) -> "Policy":
        """An independent copy that is not trained: the reference of a KL term."""
        return copy.deepcopy(self).eval().requires_grad_(False)

    def adapter_off(self) -> AbstractContextManager:
        """Within it the policy is the one without its adapter: the reference of a KL term, at no cost in memory."""
        return self.model.disable_adapter()


def encode_prompts(policy: Policy, prompts: list[Prompt]) -> tuple[Context, torch.Tensor, list[int]]:
    """Compute the prefix of each group in a batch once.

    Returns the context, the hidden state [P, D] of the last token of each prefix, and the position at which each
    continuation begins.
    """
    segments, next_positions = zip(*(policy.segment(PREFIX, p.ids, p.images, 0) for p in prompts), strict=True)
    context = Context.empty(len(prompts), policy.device)
    hidden = policy.extend(context, pack([[segment] for segment in segments], policy.pad_token, policy.device))
    ends = [len(prompt.ids) - 1 for prompt in prompts]
    return context, hidden[list(range(len(prompts))), ends], list(next_positions)


def entropy(logp: torch.Tensor) -> torch.Tensor:
    """Entropy [N] in nats of log-probabilities [N, V]; banned tokens (-inf) count as zero."""
    return -(logp.exp() * logp.masked_fill(logp == -torch.inf, 0.0)).sum(-1)


def banned_tokens(tokenizer, vocabulary: int, end_of_turn: int) -> set[int]:
    """Ids that must never be sampled: all special tokens except end-of-turn, and ids without text in the tokenizer.

    A sampled image placeholder would crash the next forward pass, because there is no picture behind it.
    """
    return (special_tokens(tokenizer) - {end_of_turn}) | set(range(len(tokenizer), vocabulary))


def special_tokens(tokenizer) -> set[int]:
    """Ids of the tokens that control a dialogue or stand for pictures, rather than for text."""
    return {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(tokenizer.all_special_ids)
