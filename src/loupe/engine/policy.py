"""The policy: a vision-language model of transformers with its tokenizer and image processor.

It turns pictures into patches, computes prefixes and branches and scores tokens; it is independent of groups, tools and
rewards. The rollout and the update use the same object, so that both see one distribution.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from peft import PeftModel
from PIL import Image
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from loupe.engine.attention import SHARED_PREFIX, attending_by
from loupe.engine.layout import Prefixes, Shared
from loupe.engine.positions import mrope_positions
from loupe.engine.vision import WINDOWS, PatchProjection, layout_of
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
        # The weights and their names stay.
        self.backbone.model.visual.patch_embed.proj.__class__ = PatchProjection
        text = self.backbone.config.text_config
        self.queries_per_key = text.num_attention_heads // text.num_key_value_heads
        vocabulary = text.vocab_size
        self.banned = banned_tokens(tokenizer, vocabulary, self.end_of_turn)
        ban = torch.zeros(vocabulary)
        ban[sorted(self.banned)] = -torch.inf
        self.register_buffer("ban", ban, persistent=False)
        self.adapter_loaded = False  # whether there is an adapter that is not new
        self.starting_adapter: dict[str, torch.Tensor] = {}  # see ``adapter.as_reference``

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
        return ImagePatches(out["pixel_values"], tuple(out["image_grid_thw"][0].tolist()), shown=image)

    def positions(self, ids: list[int], images: list[ImagePatches], start: int) -> tuple[np.ndarray, int]:
        """The M-RoPE positions [3, T] of tokens that begin at ``start``, and the position of the token after them."""
        return mrope_positions(ids, images, start, self.image_token, self.merge)

    def encode_prefixes(self, prefixes: list[tuple[list[int], list[ImagePatches]]]) -> Prefixes:
        """Compute each prefix, its tokens and the pictures behind their placeholders, once."""
        lengths = [len(ids) for ids, _ in prefixes]
        shape = len(prefixes), max(lengths)
        tokens, mask, positions = np.full(shape, self.pad_token), np.zeros(shape, bool), np.zeros((3, *shape), int)
        after = []
        for row, (ids, images) in enumerate(prefixes):
            tokens[row, : len(ids)], mask[row, : len(ids)] = ids, True
            positions[:, row, : len(ids)], end = self.positions(ids, images, 0)
            after.append(end)
        on_device = {"attention_mask": mask, "position_ids": positions}
        given = {name: torch.from_numpy(array).to(self.device) for name, array in on_device.items()}
        pictures, cache = [image for _, images in prefixes for image in images], DynamicCache()
        given |= self._embedded(torch.from_numpy(tokens).to(self.device), pictures)
        hidden = self.backbone.model.language_model(**given, past_key_values=cache, use_cache=True).last_hidden_state
        states = hidden[list(range(len(prefixes))), [length - 1 for length in lengths]]
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        return Prefixes(layers, lengths, states, after, self.queries_per_key)

    def encode_prompts(self, prompts: list[Prompt]) -> Prefixes:
        """Compute each prompt once."""
        return self.encode_prefixes([(prompt.ids, prompt.images) for prompt in prompts])

    def branch_states(
        self, prefixes: Prefixes, branches: list[tuple[int, list[int], list[ImagePatches]]]
    ) -> torch.Tensor:
        """The hidden states [N, D] of the tokens of branches, which are in the order of their prefixes.

        branches: of each, the row of its prefix, its tokens, and the pictures behind their placeholders.
        """
        positions = [self.positions(ids, images, prefixes.next_positions[row])[0] for row, ids, images in branches]
        tokens = [token for _, ids, _ in branches for token in ids]
        shared = prefixes.share([row for row, _, _ in branches], [len(ids) for _, ids, _ in branches])
        pictures = [image for _, _, images in branches for image in images]
        return self.extend(shared, tokens, positions, pictures)

    def extend(
        self, shared: Shared, ids: list[int], positions: list[np.ndarray], images: list[ImagePatches]
    ) -> torch.Tensor:
        """The hidden states [N, D] of flat tokens of branches. positions: [3, T] of each branch; images: in order."""
        places = torch.from_numpy(np.concatenate(positions, axis=1))[:, None].to(self.device)
        return self.compute(shared, torch.tensor([ids], device=self.device), places, images)

    def compute(
        self, shared: Shared, ids: torch.Tensor, positions: torch.Tensor, images: Sequence[ImagePatches] = ()
    ) -> torch.Tensor:
        """The same of tensors. ids: [1, N]; positions: [3, 1, N]."""
        given = self._embedded(ids, images)
        with self.branching():
            out = self.backbone.model.language_model(**given, position_ids=positions, use_cache=False, shared=shared)
        return out.last_hidden_state[0]

    def branching(self) -> AbstractContextManager:
        """Within it, the language model computes branches. To stay within it saves time from one pass to the next."""
        return attending_by(SHARED_PREFIX, self.backbone.model.language_model.config)

    def _embedded(self, ids: torch.Tensor, images: Sequence[ImagePatches]) -> dict:
        """Tokens [B, T] as the language model takes them, with features of the pictures in place of placeholders.

        transformers does the same within its model, but ignores features that it is given before version 5.18.
        """
        embeddings = self.backbone.get_input_embeddings()(ids)
        if not images:
            return {"inputs_embeds": embeddings}
        places = ids == self.image_token
        features, *deeper = self.encode(images)
        given = {"inputs_embeds": embeddings.masked_scatter(places[..., None], features.to(embeddings))}
        return given | ({"visual_pos_masks": places, "deepstack_visual_embeds": deeper} if deeper else {})

    def encode(self, images: Sequence[ImagePatches]) -> list[torch.Tensor]:
        """The features [tokens, D] of all pictures, one behind the other; then those of deeper layers, if any.

        A frozen tower processes each picture only once.
        """
        if any(parameter.requires_grad for parameter in self.backbone.model.visual.parameters()):
            features = self._features(images)
        else:
            with torch.no_grad():
                for image in images:
                    image.features = image.features or self._features([image])[0]
            features = [image.features for image in images if image.features]
        return [torch.cat(level) for level in zip(*features, strict=True)]

    def _features(self, images: Sequence[ImagePatches]) -> list[list[torch.Tensor]]:
        """For each picture, the features [tokens, D] that replace its placeholders, then those of deeper layers."""
        pixels = torch.cat([image.pixels for image in images]).to(self.device, self.backbone.dtype)
        grids, config = [image.grid for image in images], self.backbone.model.visual.config
        given = {"grid_thw": torch.tensor(grids, device=self.device)} | layout_of(grids, config, self.device)
        with attending_by(WINDOWS, config):
            out = self.backbone.model.visual(pixels, return_dict=True, **given)
        sizes = [image.tokens(self.merge) for image in images]
        levels = (level.split(sizes) for level in (out.pooler_output, *getattr(out, DEEPER, ())))
        return [list(one) for one in zip(*levels, strict=True)]

    def log_distribution(self, states: torch.Tensor, temperature: float) -> torch.Tensor:
        """Log-probabilities [N, V] (float32 or better) over the next token, for hidden states [N, D].

        Placeholder tokens are banned (-inf) before normalizing, in the rollout and in the update alike.
        """
        logits = self.backbone.lm_head(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        return torch.log_softmax(logits + self.ban, dim=-1)

    def token_scores(
        self, states: torch.Tensor, tokens: torch.Tensor, temperature: float, entropies: bool = False
    ) -> list[torch.Tensor]:
        """Log-probability [N] of each token [N], given the hidden state before it [N, D].

        entropies: also the entropy [N], in nats, of the distribution over each token. It works in chunks that the
        backward pass recomputes, so that no [N, V] matrix is ever in memory.
        """
        chunks = zip(states.split(self.logits_chunk), tokens.split(self.logits_chunk), strict=True)
        scores = [checkpoint(self._chunk, *chunk, temperature, entropies, use_reentrant=False) for chunk in chunks]
        return [torch.cat(column) for column in zip(*scores, strict=True)]

    def _chunk(
        self, states: torch.Tensor, tokens: torch.Tensor, temperature: float, entropies: bool
    ) -> tuple[torch.Tensor, ...]:
        logp = self.log_distribution(states, temperature)
        chosen = logp.gather(1, tokens[:, None])[:, 0]
        return (chosen, entropy(logp)) if entropies else (chosen,)

    def frozen_copy(self) -> "Policy":
        """An independent copy that is not trained: the reference of a KL term."""
        return copy.deepcopy(self).eval().requires_grad_(False)


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
