"""A policy's weights as files that vLLM loads."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from loupe.engine.policy import Policy
from loupe.models.load import save_processors

WEIGHTS = "model.safetensors"
PROCESSOR = "preprocessor_config.json"


def write_model(policy: Policy, folder: Path, dtype: torch.dtype) -> None:
    """A model without its adapter, with tokenizer and processor. dtype: of the weights in the files."""
    config = copy.deepcopy(policy.backbone.config)
    config.architectures = [type(policy.backbone).__name__]
    config.save_pretrained(folder)
    save_processors(policy, folder)
    # The class of the processor also wants to know about videos.
    pictures = json.loads((folder / PROCESSOR).read_text())
    pictures.pop("image_processor_type")
    videos = pictures | {"video_processor_type": "Qwen2VLVideoProcessor"}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(videos))
    write_weights(policy, folder, dtype)


def write_weights(policy: Policy, folder: Path, dtype: torch.dtype) -> None:
    """All weights, without an adapter."""
    tensors = {name: tensor.to("cpu", dtype, copy=True).contiguous() for name, tensor in base_weights(policy)}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def base_weights(policy: Policy) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of the model without its adapter, by the names of transformers.

    Tied ones come twice, because vLLM keeps its earlier ``lm_head`` if it gets new embeddings alone.
    """
    for name, tensor in policy.backbone.state_dict().items():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), tensor


def write_adapter(policy: Policy, folder: Path) -> None:
    """The adapter alone, in the format of peft."""
    policy.model.save_pretrained(folder, save_embedding_layers=False)
