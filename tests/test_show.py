import sys

import pytest
from PIL import Image

import show


def test_it_draws_a_row_for_each_question(tmp_path, monkeypatch):
    heights = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        monkeypatch.setattr(sys, "argv", ["show.py", f"show.count={count}", f"paths.output_dir={folder}"])
        show.main()
        heights.append(Image.open(folder / "examples.png").height)
        assert Image.open(folder / f"{count}.jpg").size == (1600, 1200)
    assert heights[1] == 2 * heights[0]


@pytest.mark.parametrize(("override", "message"), [("tool=none", "use tool=zoom"), ("show.count=0", "show.count=0")])
def test_what_cannot_be_shown(tmp_path, monkeypatch, override, message):
    monkeypatch.setattr(sys, "argv", ["show.py", override, f"paths.output_dir={tmp_path}"])
    with pytest.raises(SystemExit, match=message):
        show.main()
