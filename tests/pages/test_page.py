import re
from unittest.mock import Mock

import pytest
from helpers.recorded import HOSTILE, answer, data_of, lines, make_run, zoomed

from loupe.errors import UserError
from loupe.pages.contents import confusion
from loupe.pages.page import write_page


def test_a_run_that_goes_on(tmp_path):
    page = write_page(make_run(tmp_path / "run"))
    found = data_of(page)
    assert page == tmp_path / "run" / "report.html"
    assert "step 26 so far" in page.read_text()
    assert found["advantages"]["steps"] == list(range(1, 27)) and found["pictures"] == {}
    assert [group["id"] for group in found["gallery"]["groups"]][:4] == ["q/1", "q/1", "v", "0"]
    assert [group["step"] for group in found["gallery"]["groups"]][:3] == [26, 1, None]


def test_nothing_on_the_page_comes_from_elsewhere(tmp_path):
    page = write_page(make_run(tmp_path / "run")).read_text()
    assert "default-src 'none'" in page
    assert set(re.findall(r"https?://[^\"']+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_hostile_text_stays_text(tmp_path):
    folder = make_run(tmp_path / "<script>alert(1)<", HOSTILE)
    page = write_page(folder)
    assert "<script>window.hurt" not in page.read_text() and "<script>alert" not in page.read_text()
    assert page.read_text().count("</script>") == 2
    assert data_of(page)["gallery"]["groups"][0]["question"] == HOSTILE


def test_a_bundle_holds_its_pictures(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "report" / "b.png").unlink()
    pictures = data_of(write_page(folder, bundle=True))["pictures"]
    assert list(pictures) == ["a.png"] and pictures["a.png"].startswith("data:image/png;base64,iVBOR")


def test_an_evaluation_that_goes_on(tmp_path):
    rows = [answer("a"), zoomed("a", condition="no_tool"), answer("b")]
    journal = [{"condition": row["condition"], "number": 0, "rows": [row], "skipped": None} for row in rows]
    lines(tmp_path / "answers.jsonl", journal)
    page = write_page(tmp_path)
    assert [len(group["cards"]) for group in data_of(page)["gallery"]["groups"]] == [2, 1]
    assert "3 answers so far" in page.read_text()


def test_right_and_wrong_with_and_without_the_tool():
    wrong = {"score": 0.0}
    rows = [answer("a"), answer("b"), answer("c", **wrong)]
    rows += [answer(name, condition="no_tool", **columns) for name, columns in (("a", wrong), ("b", {}), ("c", {}))]
    assert confusion(rows)["rows"] == [["right with tool", "1", "1"], ["wrong with tool", "1", "0"]]
    assert confusion(rows[:3]) is None


def test_a_folder_without_anything_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: holds no run \(metrics\.jsonl\), evaluation"):
        write_page(tmp_path / "nowhere")
    (tmp_path / "metrics.jsonl").write_text("{broken\n")
    with pytest.raises(UserError, match="line 1 is damaged"):
        write_page(tmp_path)


def test_a_page_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    monkeypatch.setattr("loupe.pages.page.replacing", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=r"cannot write .*/report\.html: Permission denied"):
        write_page(tmp_path)
