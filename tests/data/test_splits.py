import shutil

import pytest

from loupe.data.splits import divide, same_files, shuffled, some
from loupe.errors import UserError


def test_pictures_stay_together_and_the_rest_is_for_training():
    pictures = ["a", "a", "b", "c", "c", "c", "d", "e"]
    rows = [0, 1, 2, 3, 4, 5, 7]  # row 6 cannot be used
    for seed in range(5):
        parts = divide(rows, pictures, {"val": 2, "test": 1}, seed)
        assert sorted(row for part in parts.values() for row in part) == rows
        about = {split: {pictures[row] for row in part} for split, part in parts.items()}
        assert sum(map(len, about.values())) == 4
        order = [name for name in shuffled("abcde", seed) if name != "d"]
        assert order[0] in about["val"] and len(parts["val"]) >= 2 and len(about["test"]) == 1


def test_the_choice_of_a_picture_does_not_depend_on_the_others():
    order = shuffled(range(20), seed=3)
    assert shuffled(range(10), seed=3) == [item for item in order if item < 10]
    assert shuffled(range(20), seed=4) != order


def test_some_keep_their_order():
    assert some([5, 3, 4], None, "n", seed=0) == [5, 3, 4]
    assert some(range(9), 4, "n", seed=0) == sorted(shuffled(range(9), 0)[:4])
    with pytest.raises(UserError, match="n=0"):
        some([1], 0, "n", seed=0)


def test_files_of_the_same_content(tmp_path):
    a, b, c, gone = (tmp_path / name for name in ("a", "b", "c", "gone"))
    a.write_text("one")
    shutil.copy(a, b)
    c.write_text("two")  # of the same size
    assert same_files([b, c, a, gone, b]) == [a, c, a, gone, a]
