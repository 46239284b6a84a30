import sys
from types import SimpleNamespace

import datasets
import pytest
from conftest import compose_config
from omegaconf import OmegaConf
from PIL import Image

import show
from loupe.errors import UserError

OWN = ["data=vqa", "model=tiny_random", "resolution=112", "crop=100", "show.count=3"]


def test_it_draws_a_row_for_each_question(tmp_path, monkeypatch):
    heights = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        monkeypatch.setattr(sys, "argv", ["show.py", f"show.count={count}", f"paths.output_dir={folder}"])
        show.main()
        heights.append(Image.open(folder / "examples.png").height)
        assert Image.open(folder / f"{count}.jpg").size == (1600, 1200)
    assert heights[1] == 2 * heights[0]


def test_how_many_must_be_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["show.py", "show.count=0", f"paths.output_dir={tmp_path}"])
    with pytest.raises(SystemExit, match=r"show\.count=0"):
        show.main()


def test_without_questions_there_is_nothing_to_show():
    with pytest.raises(UserError, match="data=none: there are no questions to show; choose another data set"):
        show.readable(SimpleNamespace(val=None, test=None, train=None), None, 1)


@pytest.mark.parametrize("tool", ["zoom", "none"])
def test_it_shows_ones_own_questions(tmp_path, monkeypatch, capsys, tool):
    """Without boxes and without a split for validation; a picture that cannot be read is left out and named."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (400, 300), "red").save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    table = tmp_path / "labels.csv"
    table.write_text("image,question,answer\nbroken.png,What?,red\na.png,Which $color$?,\"['red', 'rot']\"\n")
    cfg = compose_config(f"data.path={table}", "data.split=null", f"tool={tool}", *OWN, name="show")
    show.show(OmegaConf.merge(cfg, {"paths": {"output_dir": str(tmp_path)}}))
    assert f"{tmp_path / '1.jpg'}: Which $color$? -> red | rot\n" in capsys.readouterr().out
    assert Image.open(tmp_path / "examples.png").width == {"zoom": 1200, "none": 800}[tool]
    assert Image.open(tmp_path / "1.jpg").size == (400, 300)
