"""The pixels of rendered signs: the same everywhere, and legible where they should be."""

from hashlib import sha256

import numpy as np

from loupe.data.drawing import COLORS
from loupe.data.scenes import SceneStyle, SignScene

TRAIN_0_0 = "109ca3fd5f76a6e0010ea4ae628938a8a283eed978fd0f27b40c07248c7e7492"
"""The pixels of the first training scene: they change only with the drawing code or with Pillow."""


def test_the_pixels_are_the_recorded_ones():
    assert sha256(SignScene("train", 0, 0).render().tobytes()).hexdigest() == TRAIN_0_0


def test_digit_heights_and_target_boxes():
    for index in range(25):
        scene = SignScene("train", 0, index)
        picture = np.asarray(scene.render())
        for sign in scene.signs:
            x1, y1, x2, y2 = sign.box
            inside = picture[y1:y2, x1:x2]
            assert (inside[0] == 20).all() and (inside[:, -1] == 20).all()  # the outline, not covered
            assert 0.5 < (inside == COLORS[sign.color]).all(axis=-1).mean() < 0.95
            ink = (inside == 10).all(axis=-1) | (inside == 255).all(axis=-1)
            rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert 54 <= height <= 76 if sign.size == "small" else height > 230
            assert width > 1.8 * height  # three digits side by side
            assert abs(rows[0] + rows[-1] + 1 - (y2 - y1)) <= 4  # centered


def test_the_light_rises_with_x_and_y():
    scene = SignScene("train", 0, 0)
    picture = np.asarray(scene.render()).astype(int)
    red, green, blue = picture[0, :, 0], picture[0, :, 1], picture[:, 0, 2]
    assert (red[0], red[800], red[1599]) == (60, 135, 209) and (np.diff(red) >= 0).all()
    assert (blue[0], blue[600], blue[1199]) == (60, 135, 209) and (np.diff(blue) >= 0).all()
    assert 90 <= green[0] <= 160 and (green == green[0]).all()


def test_larger_canvas():
    scene = SignScene("train", 0, 0, SceneStyle(canvas=[3200, 1800]))
    assert scene.render().size == (3200, 1800)
