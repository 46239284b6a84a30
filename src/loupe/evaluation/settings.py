"""What the answers of an evaluation depend on: stated beside its figures, and compared before it goes on."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from omegaconf import DictConfig

from loupe.errors import UserError
from loupe.pictures import grid_size
from loupe.runs.config import resolved
from loupe.runs.provenance import commit

LOG = logging.getLogger(__name__)
STATED = ("seed", "crop", "resolution", "coordinates", "model", "data", "tool", "prompt", "rollout", "reward")
WITHOUT_EFFECT = {
    "data": {"batch_size", "eval_batch_size", "num_workers"},
    "rollout": {"prompts_per_batch"},
    "evaluate": {"conditions", "resamples"},
}
WEIGHTS = ("*.safetensors", "*.bin")


def settings(cfg: DictConfig, factor: int) -> dict:
    """Everything that the answers depend on, with the pixel budget and the decoding spelled out.

    factor: pixels on the patch grid, to which sizes are rounded.
    """
    given = resolved(cfg)
    kept = {group: _without(given[group], WITHOUT_EFFECT.get(group, set())) for group in (*STATED, "evaluate")}
    sides = {"overview": kept["resolution"], "crop": kept["tool"].get("output_size") or kept["resolution"]}
    return kept | {
        "precision": given["trainer"]["precision"],
        "weights": weights(given["model"].get("path")),
        "most_pixels": {name: math.prod(grid_size(side, side, side, factor)) for name, side in sides.items()},
        "commit": commit(),
    }


def weights(path: str | None) -> dict[str, list[int]]:
    """Size (bytes) and time of change (ns) of the files of weights in a local folder, to know them again."""
    folder = Path(path or "")
    if not path or not folder.is_dir():
        return {}
    files = sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def claim(folder: Path, asked: dict) -> dict:
    """Note the settings in the folder; refuse one that holds answers given under others.

    Returns what is noted: the answers of another commit are taken over, with a warning, and keep its name.
    """
    path = folder / "settings.json"
    asked = json.loads(json.dumps(asked))
    if path.exists() and (folder / "answers.jsonl").exists():
        earlier = json.loads(path.read_text())
        if changed := [key for key in asked if key != "commit" and _changed(asked[key], earlier.get(key))]:
            raise UserError(
                f"paths.output_dir={folder}: holds answers given under other settings ({', '.join(changed)}); "
                "choose another folder, or delete that one"
            )
        if asked["commit"] != earlier["commit"]:
            LOG.warning("%s: holds answers given by commit %s; they are kept", folder, earlier["commit"])
            asked["commit"] = earlier["commit"]
    path.write_text(json.dumps(asked, indent=2) + "\n")
    return asked


def _changed(now: object, earlier: object) -> bool:
    """Whether a setting is another one. Conditions may come and go, but not change."""
    if isinstance(now, dict) and isinstance(earlier, dict) and "known" in now:
        both = now["known"].keys() & earlier["known"].keys()
        now, earlier = ({**given, "known": {name: given["known"][name] for name in both}} for given in (now, earlier))
    return now != earlier


def line(asked: dict) -> str:
    """The settings that results are not comparable without."""
    known = asked["evaluate"]["known"].get("sampled", {})
    return (
        f"resolution {asked['resolution']} (at most {asked['most_pixels']['overview']:,} pixels a picture), "
        f"crop {asked['crop']}, greedy or k = {known.get('samples')} at temperature "
        f"{asked['rollout']['temperature']}, seed {asked['seed']}, 95% bootstrap intervals over questions"
    )


def _without(node: object, keys: set[str]) -> object:
    return {key: value for key, value in node.items() if key not in keys} if keys else node
