"""The settings that the answers of an evaluation depend on: stated with its results, compared before it resumes."""

import math
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from loupe.pictures import grid_size
from loupe.runs.config import resolved
from loupe.runs.provenance import commit

STATED = ("seed", "crop", "resolution", "coordinates", "model", "data", "tool", "prompt", "rollout", "reward")
WITHOUT_EFFECT = {
    "data": {"batch_size", "eval_batch_size", "num_workers"},
    "rollout": {"prompts_per_batch"},
    "evaluate": {"conditions", "resamples", "reason", "describe"},  # the last two stand in the conditions as well
}


def answer_settings(cfg: DictConfig, factor: int) -> dict:
    """Everything that the answers depend on, with the pixel budget and the decoding spelled out.

    factor: pixels per side of an image token; sizes are rounded to multiples of it.
    """
    given = resolved(cfg)
    for group, keys in WITHOUT_EFFECT.items():
        given[group] = {key: value for key, value in given[group].items() if key not in keys}
    kept = {group: given[group] for group in (*STATED, "evaluate")}
    crop = kept["tool"].get("zoom", {}).get("output_size") or kept["resolution"]
    sides = {"overview": kept["resolution"], "crop": crop}
    return kept | {
        "precision": given["trainer"]["precision"],
        "weights": weights(given["model"].get("path")),
        "most_pixels": {name: math.prod(grid_size(side, side, side, factor)) for name, side in sides.items()},
        "commit": commit(),
    }


def weights(path: str | None) -> dict[str, list[int]]:
    """Size (bytes) and modification time (ns) of the weight files in a local folder, to notice when they change."""
    files = sorted(file for kind in ("safetensors", "bin") for file in Path(path).glob(f"*.{kind}")) if path else []
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def settings_line(settings: dict, conditions: Iterable[str]) -> str:
    """The settings without which scores cannot be compared, in one line. conditions: those that were asked for."""
    known = settings["evaluate"]["known"]
    samples = sorted({count for name in conditions if (count := known.get(name, {}).get("samples"))})
    temperature = settings["rollout"]["temperature"]
    sampled = f" or k = {', '.join(map(str, samples))} at temperature {temperature}" if samples else ""
    return (
        f"resolution {settings['resolution']} (at most {settings['most_pixels']['overview']:,} pixels per picture), "
        f"crop {settings['crop']}, greedy{sampled}, seed {settings['seed']}, 95% bootstrap intervals over questions"
    )
