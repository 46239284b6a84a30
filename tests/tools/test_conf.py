from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from loupe.tools.zoom import NoTool, ZoomTool

CONF = Path(__file__).parents[2] / "conf" / "tool"


@pytest.mark.parametrize(("name", "tool"), [("zoom", ZoomTool(crop=400)), ("none", NoTool())])
def test_config_builds_the_tool(name, tool):
    config = OmegaConf.create({"crop": 400, "tool": OmegaConf.load(CONF / f"{name}.yaml")})
    assert instantiate(config.tool, _convert_="all") == tool
