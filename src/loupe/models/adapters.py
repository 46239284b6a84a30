"""Adapters (LoRA, arXiv 2106.09685): new ones, and the settings of loaded ones."""

import logging
import re

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from loupe.errors import UserError, require_int, require_number
from loupe.paths import portable

LOG = logging.getLogger(__name__)
LORA = {"r": 64, "alpha": 128, "dropout": 0.0, "target": "all-linear"}
"""What may be given about an adapter, with the defaults."""
VISION = r".*\bvisual\..*"
"""Names of the modules of the vision tower."""
WITH_DROPOUT = "with dropout, the update would score tokens under a distribution that they were not sampled from"


def with_adapter(model: PreTrainedModel, lora: dict, train_vision: bool) -> PeftModel:
    """``model`` with a new adapter, of the settings in ``LORA``. Raises UserError for bad ones."""
    if not isinstance(lora, dict):
        raise UserError(f"model.lora={lora}: must be null or {{r, alpha, target}}, e.g. '{{r: 8, alpha: 16}}'")
    if unknown := sorted(lora.keys() - LORA.keys()):
        raise UserError(f"model.lora.{unknown[0]}: unknown; must be one of {', '.join(sorted(LORA))}")
    settings = LORA | lora
    if settings["dropout"]:
        raise UserError(f"model.lora.dropout={settings['dropout']}: must be 0; {WITH_DROPOUT}")
    width = model.config.get_text_config().hidden_size
    if require_int("model.lora.r", settings["r"], 1) > width:
        raise UserError(f"model.lora.r={settings['r']}: must be {width}, the width of the model, or less")
    config = LoraConfig(
        r=settings["r"],
        lora_alpha=require_number("model.lora.alpha", settings["alpha"], 0, 10**6, above=True),
        target_modules=settings["target"],
        exclude_modules=None if train_vision else VISION,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except (TypeError, ValueError, re.error) as error:
        raise UserError(f"model.lora={lora}: {str(error).splitlines()[0]}") from error
    if model.name_or_path:
        adapted.active_peft_config.base_model_name_or_path = portable(model.name_or_path)
    return adapted


def keep_own_settings(model: PeftModel, lora: dict | None) -> None:
    """Turn off the dropout of a loaded adapter, and name its own settings where ``lora`` asks for others."""
    config = model.active_peft_config
    if config.lora_dropout:
        LOG.warning("the adapter's lora_dropout=%s is set to 0: %s", config.lora_dropout, WITH_DROPOUT)
        config.lora_dropout = 0.0
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Dropout) and ".lora_dropout." in name:
                module.p = 0.0
    own = {"r": config.r, "alpha": config.lora_alpha}
    if others := [key for key in own if lora and lora.get(key, own[key]) != own[key]]:
        kept = ", ".join(f"{key}={own[key]}" for key in others)
        LOG.warning("model.lora=%s: the adapter in model.path keeps its own %s", lora, kept)


class OutsideAutocast:
    """True where autocast does not choose the precision of matrix products."""

    def __bool__(self) -> bool:
        return not (torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"))


def leave_casts_to_autocast(model: PreTrainedModel | PeftModel) -> None:
    """Keep peft from converting the inputs of an adapter to its float32 under autocast, which converts them back.

    The results are the same to the last bit; variants of LoRA of which they would not be, such as DoRA, are left alone.
    It saves a ninth of the operations of a decoding step, and the copies, each of which would be kept for the backward
    pass.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer) and not module.lora_variant:
            module.cast_input_dtype_enabled = OutsideAutocast()
