"""Former spellings of settings: refused on the command line, understood in what earlier runs have recorded."""

import re

from loupe.errors import UserError

ZOOM = "loupe.tools.zoom.ZoomTool"
WANDB = "loupe.logs.wandb_logger.RunWandbLogger"
FORMER_TOOLS = (ZOOM, "loupe.tools.zoom.NoTool")
ESTIMATORS = {"std": "loupe.grpo.advantages.group_std", "none": "loupe.grpo.advantages.group_mean"}
"""The estimator for each value of the former ``algorithm.advantage_scale``."""
SCALE = "algorithm.advantage_scale"
ESTIMATOR = "algorithm.advantage._target_"
RENAMED = {
    "reward=hard_only": "reward=accuracy_only",
    "reward.weights.hard": "reward.weights.accuracy",
    "reward.terms.hard": "reward.terms.accuracy",
    **{f"{SCALE}={scale}": f"{ESTIMATOR}={estimator}" for scale, estimator in ESTIMATORS.items()},
    SCALE: ESTIMATOR,
    "tool.crop": "tool.zoom.crop",
    "tool.instruction": "tool.zoom.instruction",
    "tool.output_size": "tool.zoom.output_size",
    "tool.pixels": "tool.zoom.pixels",
}
"""Former overrides, or the beginnings of some, with their new spellings."""


def refuse_renamed(arguments: list[str]) -> None:
    """Raise UserError for an override in a former spelling, naming the new one."""
    for argument in arguments:
        for former, name in RENAMED.items():
            if re.match(rf"[+~]*{re.escape(former)}\b", argument):
                raise UserError(f"{argument}: this is called {name} now")


def current_override(override: str) -> str:
    """An override that an earlier run has recorded, as it is written today."""
    key, given, value = override.partition("=")
    return RENAMED.get(override) or f"{RENAMED.get(key, key)}{given}{value}"


def update_settings(settings: dict) -> None:
    """Bring the settings of an earlier run, those of its config.yaml, into today's form."""
    algorithm = settings.get("algorithm", {})
    if "advantage_scale" in algorithm:
        estimator = ESTIMATORS[algorithm.pop("advantage_scale")]
        algorithm["advantage"] = {"_target_": estimator, "_partial_": True}
    logger = settings.get("logger", {})
    if logger.get("_target_") == WANDB:
        settings["logger"] = logger | {"_target_": "loupe.logs.chosen.loggers"}
    tool = settings.get("tool", {})
    if tool.get("_target_") in FORMER_TOOLS:
        settings["tool"] = _as_toolbox(tool)


def _as_toolbox(tool: dict) -> dict:
    """The settings of the only tool that there could be, or of none, as those of a set of tools."""
    toolbox = {"_target_": "loupe.tools.toolbox.Toolbox", "coordinates": tool["coordinates"]}
    if tool["_target_"] != ZOOM:
        return toolbox
    zoom = {key: value for key, value in tool.items() if key not in ("coordinates", "max_calls")}
    zoom["instruction"] = zoom["instruction"].removeprefix(" ")
    return toolbox | {"max_calls": tool["max_calls"], "zoom": zoom}
