import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from loupe.runs.config import instantiate
from loupe.runs.renamed import current_override, update_settings

ZOOM = {
    "_target_": "loupe.tools.zoom.ZoomTool",
    **{"crop": 300, "output_size": None, "coordinates": "original", "pixels": "shown", "max_calls": 2},
    "instruction": " To see a detail, call it:\n<tool>\nname: zoom\nkeypoint: [x, y]\n</tool>",
}
NONE = {"_target_": "loupe.tools.zoom.NoTool", "coordinates": "shown"}


@pytest.mark.parametrize(
    ("former", "override"),
    [
        ("tool.pixels=shown", "tool.zoom.pixels=shown"),
        ("tool.max_calls=2", "tool.max_calls=2"),
        ("algorithm.advantage_scale=std", "algorithm.advantage._target_=loupe.grpo.advantages.group_std"),
        ("reward.weights.hard=1", "reward.weights.accuracy=1"),
        ("crop=3", "crop=3"),
    ],
)
def test_recorded_overrides_are_understood(former, override):
    assert current_override(former) == override


def test_the_only_tool_of_an_earlier_run_becomes_one_of_a_set():
    settings = {"tool": dict(ZOOM)}
    update_settings(settings)
    tools = instantiate(OmegaConf.create(settings).tool)
    (zoom,) = tools.tools.values()
    assert (zoom.crop, zoom.pixels, tools.max_calls, tools.coordinates) == (300, "shown", 2, "original")
    assert tools.instruction == ZOOM["instruction"]


def test_an_earlier_run_without_a_tool():
    settings = {"tool": dict(NONE)}
    update_settings(settings)
    assert instantiate(OmegaConf.create(settings).tool).max_calls == 0


def test_an_earlier_run_that_had_one_logger(tmp_path):
    target = "loupe.logs.wandb_logger.RunWandbLogger"
    former = {
        "_target_": target,
        "mode": "offline",
        "folder": str(tmp_path),
        "project": "p",
        "group": "g",
        "name": None,
    }
    settings = {"logger": former}
    update_settings(settings)
    (logger,) = instantiate(OmegaConf.create(settings).logger)
    assert (logger.mode, logger.project, logger.folder) == ("offline", "p", tmp_path)


def test_settings_of_today_stay():
    settings = OmegaConf.to_container(compose_config("tool=[zoom,rotate]"))
    before = OmegaConf.to_container(compose_config("tool=[zoom,rotate]"))
    update_settings(settings)
    assert settings == before
