"""What the answers of an evaluation depend on: stated beside its figures, and compared before it goes on."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from loupe.cli import resolved
from loupe.errors import UserError

STATED = ("seed", "crop", "resolution", "coordinates", "model", "data", "tool", "prompt", "rollout", "reward")
WITHOUT_EFFECT = {
    "data": {"batch_size", "eval_batch_size", "num_workers"},
    "rollout": {"prompts_per_batch"},
    "evaluate": {"conditions", "resamples"},
}
WEIGHTS = ("*.safetensors", "*.bin")


def settings(cfg: DictConfig) -> dict:
    """Everything that the answers depend on, with the pixel budget and the decoding spelled out."""
    given = resolved(cfg)
    kept = {group: _without(given[group], WITHOUT_EFFECT.get(group, set())) for group in (*STATED, "evaluate")}
    long_side = kept["tool"].get("output_size") or kept["resolution"]
    return kept | {
        "precision": given["trainer"]["precision"],
        "weights": weights(given["model"].get("path")),
        "most_pixels": {"overview": kept["resolution"] ** 2, "crop": long_side**2},
    }


def weights(path: str | None) -> dict[str, list[int]]:
    """Size (bytes) and time of change (ns) of the files of weights in a local folder, to know them again."""
    folder = Path(path or "")
    if not path or not folder.is_dir():
        return {}
    files = sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def claim(folder: Path, asked: dict) -> None:
    """Note the settings in the folder; refuse one that holds answers given under others."""
    path = folder / "settings.json"
    asked = json.loads(json.dumps(asked))
    if path.exists() and (folder / "answers.jsonl").exists():
        earlier = json.loads(path.read_text())
        if changed := [key for key in asked if asked[key] != earlier.get(key)]:
            raise UserError(
                f"paths.output_dir={folder}: holds answers given under other settings ({', '.join(changed)}); "
                "choose another folder, or delete that one"
            )
    path.write_text(json.dumps(asked, indent=2) + "\n")


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
