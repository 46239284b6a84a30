"""Loading a policy from a folder or the hub, or building it from a configuration; saving it.

Tokenizer and image processor are loaded separately, because ``Qwen2_5_VLProcessor`` needs torchvision for videos.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils.peft_utils import find_adapter_config_file

from loupe import hub
from loupe.engine.policy import Policy
from loupe.errors import UserError, require_choice
from loupe.models.adapters import keep_own_settings, leave_casts_to_autocast, with_adapter
from loupe.paths import located

NO_CODE = {"trust_remote_code": False}  # of the model's author; by default transformers asks whether to run it
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

Parts = tuple[PreTrainedModel, PreTrainedTokenizerBase, Qwen2VLImageProcessorPil]
"""A model, its tokenizer and its image processor."""


def load_policy(
    path: str | None,
    build: Callable[[], Parts] | None = None,
    lora: dict | None = None,
    dtype: str = "float32",
    attention: str = "sdpa",
    train_vision: bool = True,
    four_bit: bool = False,
    recompute: bool = False,
    logits_chunk: int = 256,
    trainable: bool = True,
) -> Policy:
    """A policy for training or inference.

    path: a folder or a hub id of a model or of a peft adapter; None calls ``build`` instead. The base of an adapter is
        the one that its adapter_config.json names (see :func:`save_policy`).
    build: returns (model, tokenizer, image processor). logits_chunk: see :class:`Policy`.
    lora: ``{r, alpha, dropout, target}`` trains an adapter.
    dtype: of the frozen weights. Trained weights stay in float32: at the learning rates of RL, bfloat16 would round
        most updates to nothing.
    attention: transformers' implementation, "sdpa" or "eager".
    train_vision: False freezes the vision tower, which then processes each picture only once per step.
    four_bit: load the frozen base in 4 bits (NF4, arXiv 2305.14314).
    recompute: recompute the activations inside the language model's MLPs, most of what the backward pass needs, instead
        of storing them.
    trainable: False freezes all weights, so that all of them may be in low precision.
    Raises UserError for bad settings, and for files that are missing or cannot be read.
    """
    path = _text(path)
    require_choice("model.dtype", dtype, ("float32", "bfloat16", "float16"))
    if attention == "flash_attention_2":
        raise UserError(
            "model.attention=flash_attention_2: cannot mask the branches of a group from one another; use sdpa"
        )
    require_choice("model.attention", attention, ("sdpa", "eager"))
    options = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    options |= {"quantization_config": _nf4(options["dtype"])} if four_bit else {}
    if adapted := path is not None and _is_adapter(path):
        model, tokenizer, image_processor = _load_adapter(path, build, options, lora)
    else:
        model, tokenizer, image_processor = _load_or_build(path, build, options)
        model = with_adapter(model, lora, train_vision) if lora else model
    leave_casts_to_autocast(model)
    policy = Policy(model, tokenizer, image_processor, logits_chunk)
    _set_trained(policy, trainable, train_vision, dtype, four_bit)
    policy.adapter_loaded = adapted
    if recompute:
        _recompute_mlps(policy)
    return policy


def _text(path: object) -> str | None:
    """``model.path`` with the home folder for a ``~``; anything but text is refused."""
    if path is not None and not isinstance(path, str):
        raise UserError(f"model.path={path}: must be text; put quotes around a folder that is called like a number")
    return path and os.path.expanduser(path)


def _recompute_mlps(policy: Policy) -> None:
    """The MLPs only: recomputed layers would write to the cache of keys and values a second time."""
    for layer in policy.backbone.model.language_model.layers:
        layer.mlp.forward = partial(checkpoint, layer.mlp.forward, use_reentrant=False)


def _set_trained(policy: Policy, trainable: bool, train_vision: bool, dtype: str, four_bit: bool) -> None:
    """Freeze the weights that are not trained, and set the precision of all weights."""
    if not trainable:
        policy.requires_grad_(False)
    elif not policy.has_adapter and (dtype != "float32" or four_bit):
        raise UserError(
            f"model.dtype={dtype} model.four_bit={str(four_bit).lower()}: only frozen weights may be in low precision; "
            "train an adapter (model.lora), or all weights with model.dtype=float32 trainer.precision=bf16-mixed"
        )
    if not train_vision:
        policy.backbone.model.visual.requires_grad_(False)
    for parameter in policy.parameters():  # not policy.to(), which would round the rotary frequencies as well
        if parameter.is_floating_point():  # 4-bit weights are stored as integers
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else getattr(torch, dtype))


def save_policy(policy: Policy, folder: Path) -> None:
    """Write the model (or adapter), tokenizer and image processor in the format of transformers and peft.

    An adapter's adapter_config.json names its base: by its hub id, by its path relative to the project (where commands
    run) for a folder of the project, by its absolute path for any other folder, and as null if the base was built.
    """
    # The vocabulary never changes. Without this option, peft would query the hub for the base to find that out.
    options = {"save_embedding_layers": False} if policy.has_adapter else {}
    policy.model.save_pretrained(folder, **options)
    save_processors(policy, folder)


def save_processors(policy: Policy, folder: Path) -> None:
    """Write tokenizer and image processor."""
    # An adapter's folder has no config.json, by which AutoProcessor would find the class of the processor.
    policy.tokenizer.init_kwargs["processor_class"] = PROCESSOR_MAPPING_NAMES[policy.backbone.config.model_type]
    policy.tokenizer.save_pretrained(folder)
    policy.image_processor.save_pretrained(folder)


def _is_adapter(path: str) -> bool:
    """Whether a folder or a repository of the hub contains an adapter."""
    if Path(path).exists() or not hub.is_id(path):
        return (Path(path) / "adapter_config.json").is_file()
    hub.prepare()
    return find_adapter_config_file(path) is not None


def _load_adapter(path: str, build: Callable[[], Parts] | None, options: dict, lora: dict | None) -> Parts:
    """An adapter on its base, with the tokenizer and image processor that were saved with it."""
    with _errors_in_one_line(path):
        base = PeftConfig.from_pretrained(path).base_model_name_or_path
    if base:
        model = _load_base(path, base, options)
    elif build:
        model = _built(build, options)[0]
    else:
        raise UserError(f"model.path={path}: an adapter on random weights; choose the model= that it was trained with")
    tokenizer, image_processor = _load_processors(path, model.config)
    with _errors_in_one_line(path):
        adapted = PeftModel.from_pretrained(model, path, is_trainable=True)
    keep_own_settings(adapted, lora)
    return adapted, tokenizer, image_processor


def _load_base(path: str, base: str, options: dict) -> PreTrainedModel:
    try:
        return _load(located(base), options)[0]
    except UserError as error:
        raise UserError(
            f"model.path={path}: cannot load the base of this adapter, {base}; "
            f"set base_model_name_or_path in {path}/adapter_config.json"
        ) from error


def _load_or_build(path: str | None, build: Callable[[], Parts] | None, options: dict) -> Parts:
    if path is not None:
        return _load(path, options)
    if build is None:
        raise UserError("model.path is empty; give a folder or a hub id")
    return _built(build, options)


def _built(build: Callable[[], Parts], options: dict) -> Parts:
    if "quantization_config" in options:
        raise UserError("model.four_bit=true: only weights from files can be in 4 bits; give model.path, or use false")
    model, *others = build()
    model.set_attn_implementation(options["attn_implementation"])
    return model, *others


def _load(path: str, options: dict) -> Parts:
    folder = Path(path)
    if not folder.exists() and not hub.is_id(path):  # saves the wait for the network
        raise UserError(
            f"model.path={path}: no such folder, and not a hub id; give model.path=<folder> or <owner/name>"
        )
    if not folder.exists():
        hub.prepare()
    elif not (folder / "config.json").is_file():
        within = folder / "model"  # of a run
        fix = f"give model.path={within}" if within.is_dir() else "give a folder written by save_pretrained"
        raise UserError(f"model.path={path}: no config.json there; {fix}")
    tokenizer, image_processor = _load_processors(path)
    with _errors_in_one_line(path):
        return AutoModelForImageTextToText.from_pretrained(path, **NO_CODE, **options), tokenizer, image_processor


def _load_processors(
    path: str, config: PreTrainedConfig | None = None
) -> tuple[PreTrainedTokenizerBase, Qwen2VLImageProcessorPil]:
    """config: of the model, if there is none in ``path``."""
    folder = Path(path)
    for name, files in [("tokenizer", TOKENIZER_FILES), ("image processor", IMAGE_PROCESSOR_FILES)]:
        if folder.exists() and not any((folder / file).is_file() for file in files):
            raise UserError(f"model.path={path}: no {name} there ({' or '.join(files)}); copy it from the base model")
    with _errors_in_one_line(path):
        tokenizer = AutoTokenizer.from_pretrained(path, config=config, **NO_CODE)
        return tokenizer, Qwen2VLImageProcessorPil.from_pretrained(path)


@contextmanager
def _errors_in_one_line(path: str) -> Iterator[None]:
    """Turn the exceptions of transformers and peft for missing or broken files into a UserError of one line."""
    try:
        yield
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and not Path(path).exists():
            raise UserError(
                f"model.path={path}: neither a local folder nor available from the hub; give model.path=<folder>"
            ) from error
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"model.path={path}: cannot be loaded ({reason}); copy it again or give another") from error


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("model.four_bit=true: needs a GPU and the package bitsandbytes; pip install bitsandbytes")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
