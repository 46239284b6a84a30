import pytest
from PIL import Image

from loupe.errors import UserError
from loupe.geometry import Frame, View
from loupe.tools.errors import CallError, Failure
from loupe.tools.zoom import ZoomTool, crop_box, locate, locate_box


def question(picture: Image.Image) -> View:
    """The picture of a question, shown at 112x84."""
    return View.of_question(picture, (112, 84), "shown")


@pytest.mark.parametrize(
    ("center", "box"),
    [
        ((500.5, 400.5), (300, 200, 700, 600)),  # in the middle
        ((500.0, 400.0), (300, 200, 700, 600)),
        ((0.5, 400.5), (0, 200, 400, 600)),  # left border
        ((999.5, 400.5), (600, 200, 1000, 600)),  # right
        ((500.5, 0.5), (300, 0, 700, 400)),  # top
        ((500.5, 799.5), (300, 400, 700, 800)),  # bottom
        ((0.5, 0.5), (0, 0, 400, 400)),  # corners
        ((999.5, 0.5), (600, 0, 1000, 400)),
        ((0.5, 799.5), (0, 400, 400, 800)),
        ((1000.0, 800.0), (600, 400, 1000, 800)),
        ((200.5, 200.5), (0, 0, 400, 400)),  # just touching
        ((201.5, 199.5), (1, 0, 401, 400)),
    ],
)
def test_box_of_400_in_a_1000x800_picture(center, box):
    assert crop_box(center, 400, (1000, 800)) == box


@pytest.mark.parametrize(
    ("center", "size", "picture", "box"),
    [
        ((5.5, 5.5), 3, (10, 10), (4, 4, 7, 7)),  # odd: the pixel of the keypoint is the middle one
        ((5.5, 5.5), 1, (10, 10), (5, 5, 6, 6)),
        ((150.5, 90.5), 400, (300, 200), (0, 0, 300, 200)),  # smaller than the crop
        ((150.5, 700.5), 400, (300, 1000), (0, 500, 300, 900)),  # narrower only
        ((0.5, 50.5), 400, (1, 100), (0, 0, 1, 100)),  # one pixel wide
        ((0.5, 500.5), 40, (1, 1000), (0, 480, 1, 520)),
        ((0.5, 0.5), 400, (1, 1), (0, 0, 1, 1)),
    ],
)
def test_box_of_other_sizes(center, size, picture, box):
    assert crop_box(center, size, picture) == box


@pytest.mark.parametrize(
    ("keypoint", "coordinates", "point"),
    [
        ([0, 0], "shown", (5.0, 5.0)),  # the center of a shown pixel, which is 10 original pixels wide
        ([50, 20], "shown", (505.0, 205.0)),
        ([99, 79], "shown", (995.0, 795.0)),
        ([0, 0], "original", (0.5, 0.5)),
        ([999, 799], "original", (999.5, 799.5)),
        ([0, 0], "relative_1000", (0.0, 0.0)),
        ([500, 250], "relative_1000", (500.0, 200.0)),
        ([1000, 1000], "relative_1000", (1000.0, 800.0)),
    ],
)
def test_keypoint_to_original_pixels(keypoint, coordinates, point):
    assert locate(keypoint, Frame.of(coordinates, (100, 80), (1000, 800))) == point


@pytest.mark.parametrize(
    ("keypoint", "coordinates", "extent"),
    [
        ([100, 0], "shown", "the 100x80 picture"),
        ([0, 80], "shown", "the 100x80 picture"),
        ([-1, 0], "shown", "the 100x80 picture"),
        ([1000, 0], "original", "the 1000x800 picture"),
        ([0, 800], "original", "the 1000x800 picture"),
        ([1001, 0], "relative_1000", "the range 0 to 1000"),
        ([0, -1], "relative_1000", "the range 0 to 1000"),
    ],
)
def test_keypoint_outside(keypoint, coordinates, extent):
    message = f"Error: the keypoint {keypoint} lies outside {extent}."
    assert locate(keypoint, Frame.of(coordinates, (100, 80), (1000, 800))) == Failure(CallError.OUT_OF_BOUNDS, message)


def test_shown_frame_with_another_aspect_ratio():
    assert locate([30, 10], Frame.of("shown", (112, 84), (1600, 1000))) == pytest.approx((435.714286, 125.0))


@pytest.mark.parametrize(
    ("box", "coordinates", "pixels"),
    [
        ([0, 0, 100, 80], "shown", (0, 0, 1000, 800)),
        ([10, 20, 11, 21], "shown", (100, 200, 110, 210)),
        ([10, 20, 30, 40], "original", (10, 20, 30, 40)),
        ([333, 0, 334, 1000], "relative_1000", (333, 0, 334, 800)),
        ([1, 1, 2, 2], "relative_1000", (1, 0, 2, 2)),  # 0.8 to 1.6 pixels down: both in part
    ],
)
def test_box_to_original_pixels(box, coordinates, pixels):
    assert locate_box(box, Frame.of(coordinates, (100, 80), (1000, 800))) == pixels


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([5, 5, 5, 9], "bad_argument"),
        ([5, 9, 6, 5], "bad_argument"),
        ([-1, 0, 5, 5], "out_of_bounds"),
        ([0, 0, 101, 5], "out_of_bounds"),
        ([0, 0, 5, 81], "out_of_bounds"),
    ],
)
def test_boxes_that_cannot_be_cut(box, kind):
    failure = locate_box(box, Frame.of("shown", (100, 80), (1000, 800)))
    assert failure.kind == kind and str(box) in failure.message


def test_crop_comes_from_the_original():
    """A single white pixel of 2000x1500 is invisible at 112x84, and white in the crop."""
    picture = Image.new("RGB", (2000, 1500))
    picture.putpixel((1231, 742), (255, 255, 255))
    result = ZoomTool(crop=200).run({"keypoint": [68, 41]}, question(picture))
    # (68.5 * 2000 / 112, 41.5 * 1500 / 84) = (1223.21, 741.07)
    assert result.box == (1123, 641, 1323, 841)
    assert result.keypoint == pytest.approx((1223.214286, 741.071429))
    assert result.image.size == (200, 200)
    assert result.image.getpixel((1231 - 1123, 742 - 641)) == (255, 255, 255)
    assert sum(result.image.convert("L").histogram()[1:]) == 1


def test_a_crop_of_the_pixels_shown_reveals_nothing_new():
    """A detail that is lost at the shown size, 112x84, is missing from the crop too; the box is the same."""
    picture = Image.new("RGB", (2000, 1500))
    picture.putpixel((1231, 742), (255, 255, 255))
    picture.paste((255, 255, 255), (1123, 641, 1323, 741))
    call, view = {"keypoint": [68, 41]}, question(picture)
    shown, original = (ZoomTool(crop=200, pixels=p).run(call, view) for p in ("shown", "original"))
    assert shown.box == original.box and shown.image.size == original.image.size
    assert original.image.getpixel((108, 101)) == (255, 255, 255)
    assert shown.image.getpixel((108, 115))[0] < 128
    assert shown.image.getpixel((100, 50))[0] > 200  # what is large enough remains visible


def test_the_crop_is_shown_at_the_size_of_the_whole_picture_by_default():
    view = question(Image.new("RGB", (2000, 1500)))
    assert ZoomTool(crop=40).run({"keypoint": [20, 20]}, view).long_side is None
    assert ZoomTool(crop=40, output_size=56).run({"keypoint": [20, 20]}, view).long_side == 56


def test_run_returns_failures():
    view = question(Image.new("RGB", (2000, 1500)))
    outside = ZoomTool(crop=40).run({"keypoint": [300, 20]}, view)
    assert outside.message == "Error: the keypoint [300, 20] lies outside the 112x84 picture."
    assert ZoomTool(crop=40, call="box_json").run({"box": [3, 3, 3, 3]}, view).kind == "bad_argument"


def test_a_box_is_cut_as_it_is_drawn():
    picture = Image.new("RGB", (2000, 1500))
    picture.putpixel((1231, 742), (255, 255, 255))
    result = ZoomTool(crop=200, call="box_yaml").run({"box": [56, 28, 84, 56]}, question(picture))
    assert result.box == (1000, 500, 1500, 1000) and result.keypoint is None
    assert result.image.getpixel((231, 242)) == (255, 255, 255)


def test_a_zoom_into_a_crop_shows_at_most_half_of_it():
    crop = Image.new("RGB", (400, 300))
    once, again = (View.of(crop, (112, 84), "shown", depth=depth) for depth in (0, 1))
    assert ZoomTool(crop=400).run({"keypoint": [56, 42]}, once).box == (0, 0, 400, 300)
    assert ZoomTool(crop=400).run({"keypoint": [56, 42]}, again).box == (126, 76, 276, 226)
    assert ZoomTool(crop=100).run({"keypoint": [56, 42]}, again).image.size == (100, 100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": "big"}, "crop=big: must be a whole number, 1 or more"),
        ({"crop": -1}, "crop=-1: must be a whole number, 1 or more"),
        ({"crop": 0}, "crop=0: must be a whole number, 1 or more"),
        ({"crop": 4, "output_size": 0}, "tool.zoom.output_size=0: must be a whole number from 1 to 14142"),
        ({"crop": 4, "output_size": 10**6}, "tool.zoom.output_size=1000000: must be a whole number from 1 to 14142"),
        (
            {"crop": 4, "pixels": "sharp"},
            "tool.zoom.pixels=sharp: must be one of original, shown",
        ),
        (
            {"crop": 4, "call": "xml"},
            "tool.call=xml: must be one of keypoint_yaml, box_yaml, box_json, function",
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(UserError) as error:
        ZoomTool(**settings)
    assert str(error.value) == message
