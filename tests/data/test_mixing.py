import pytest

from loupe.data.mixing import mixed, read_mined, write_mined
from loupe.errors import UserError

SCORES = {"a": 0.0, "b": 0.25, "c": 0.5, "d": 0.75, "e": 1.0, "f": 1.0, "g": 1.0, "h": 0.0}
IDS = list(SCORES)


@pytest.fixture
def mined(tmp_path):
    return str(write(tmp_path / "mined.csv", SCORES))


def write(path, scores):
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,score\n" + "".join(f"{name},{score}\n" for name, score in scores.items()))
    return path


def chosen(mined, mix="all", hard_fraction=None, ids=IDS, seed=0):
    return "".join(mixed(ids, ids, mined, mix, hard_fraction, seed))


@pytest.mark.parametrize(("mix", "kept"), [("all", "abcdefgh"), ("zero", "ah"), ("at_most_half", "abch")])
def test_the_mixes(mined, mix, kept):
    assert chosen(mined, mix) == kept


def test_the_mix_of_all_questions_is_the_data_set_itself(caplog):
    assert mixed(IDS, IDS, None, "all", None, 0) is IDS
    assert not caplog.text
    assert mixed(IDS, IDS, "outputs/mined", "all", None, 0) is IDS
    assert (
        "data.mined=outputs/mined: not read, because data.mix=all takes every question; give data.mix=" in caplog.text
    )


def test_one_to_one(tmp_path):
    kept = chosen(str(write(tmp_path / "m.csv", SCORES | {"h": 1.0})), "one_to_one")
    assert kept[:3] == "abc" and len(kept) == 6  # all hard questions, and as many of the five others
    assert kept == "".join(sorted(kept))


def test_a_share_of_hard_questions(mined):
    kept = chosen(mined, hard_fraction=0.8)
    assert sorted(set(kept) & set("abch")) == list("abch") and len(kept) == 5  # 4 of 5
    assert chosen(mined, hard_fraction=1) == "abch"
    assert chosen(mined, hard_fraction=0) == "defg"
    assert chosen(mined, "zero", 1.0) == "ah"
    assert len({chosen(mined, hard_fraction=0.8, seed=seed) for seed in range(9)}) > 1
    assert chosen(mined, hard_fraction=0.8) == kept


def test_questions_that_were_not_mined_are_named(mined, caplog):
    assert chosen(mined, "zero", ids=[*IDS, "x", "y"]) == "ah"
    assert "skipped 2 questions that data.mined=" in caplog.text and "(x, y)" in caplog.text


def test_shards_are_merged(tmp_path):
    write(tmp_path / "0-of-2" / "mined.csv", {"a": 0.0, "c": 1.0})
    write(tmp_path / "1-of-2" / "mined.csv", {"b": 0.5})
    assert read_mined(tmp_path) == {"a": 0.0, "c": 1.0, "b": 0.5}
    write(tmp_path / "mined.csv", {"a": 0.25})
    with pytest.raises(UserError, match="a has two scores"):
        read_mined(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": "hard"}, "data.mix=hard: must be one of all, zero, at_most_half, one_to_one"),
        ({"mix": "zero", "mined": None}, "needs data.mined=<folder of src/mine.py>"),
        ({"hard_fraction": 0.5, "mined": None}, "needs data.mined="),
        ({"hard_fraction": 1.5}, "data.hard_fraction=1.5: must be a number from 0 to 1"),
        ({"hard_fraction": True}, "data.hard_fraction=True"),
        ({"mix": "one_to_one", "hard_fraction": 0.8}, "means data.hard_fraction=0.5"),
        ({"mix": "zero", "ids": ["x"]}, "holds none of these questions"),
        ({"mix": "zero", "ids": ["e", "f"]}, "no question of data.mined=.* is left; choose another mix"),
        ({"mix": "zero", "hard_fraction": 0.5}, "no question of data.mined=.* is left; choose another mix"),
        ({"mix": "zero", "mined": "nowhere"}, "data.mined=nowhere: no mined.csv there"),
    ],
)
def test_bad_mixes(mined, settings, message):
    with pytest.raises(UserError, match=message):
        chosen(**{"mined": mined} | settings)


@pytest.mark.parametrize("text", ["id,points\na,1\n", "id,score\na,many\n", "id,score\na\n"])
def test_a_file_without_the_columns_is_refused(tmp_path, text):
    (tmp_path / "mined.csv").write_text(text)
    with pytest.raises(UserError, match="lacks the columns id and score"):
        read_mined(tmp_path)


def test_ids_are_no_formulas_of_a_spreadsheet(tmp_path):
    scores = {"=1+2": 0.5, "@x": 0.0, "'=x": 0.25, "a,b": 1.0, "plain": 0.75}
    write_mined(scores, tmp_path / "mined.csv")
    assert (tmp_path / "mined.csv").read_text().splitlines()[1:4] == ["'=1+2,0.5", "'@x,0.0", "''=x,0.25"]
    assert read_mined(tmp_path) == scores
