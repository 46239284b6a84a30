from dataclasses import replace
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from loupe.errors import UserError
from loupe.geometry import Frame
from loupe.pictures import resize_to_grid
from loupe.tools.errors import CallError, Failure
from loupe.tools.parse import Call
from loupe.tools.zoom import NoTool, ZoomTool, crop_box, locate

CONF = Path(__file__).parents[2] / "conf" / "tool"


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
    assert locate(keypoint, Frame.of(coordinates, (100, 80), (1000, 800))) == Failure(
        CallError.OUT_OF_BOUNDS, message, {"keypoint": keypoint}
    )


def test_shown_frame_with_another_aspect_ratio():
    assert locate([30, 10], Frame.of("shown", (112, 84), (1600, 1000))) == pytest.approx((435.714286, 125.0))


@pytest.mark.parametrize("keypoint", [[12, 34], (12, 34), [0, -5], [999999999, 1]])
def test_a_written_call_is_read_back(keypoint):
    assert ZoomTool.parse(ZoomTool.write(keypoint)) == Call("zoom", {"keypoint": list(keypoint)})


def test_the_text_of_a_call():
    assert ZoomTool.write([12, 34]) == "\nname: zoom\nkeypoint: [12, 34]\n"


@pytest.mark.parametrize(
    ("keypoint", "kind"),
    [
        ("here", CallError.BAD_KEYPOINT),
        ("[5]", CallError.BAD_KEYPOINT),
        ("", CallError.BAD_KEYPOINT),
        ("[5", CallError.NOT_YAML),
        ("[1, 2]\nx: 1", CallError.UNEXPECTED_ARGUMENT),
        ("9" * 200, CallError.TOO_LONG),
    ],
)
def test_a_call_may_be_written_with_any_text_for_its_keypoint(keypoint, kind):
    assert ZoomTool.parse(ZoomTool.write(keypoint)).kind == kind


def test_crop_comes_from_the_original():
    """A single white pixel of 2000x1500 is invisible at 112x84, and white in the crop."""
    picture = Image.new("RGB", (2000, 1500))
    picture.putpixel((1231, 742), (255, 255, 255))
    result = ZoomTool(crop=200).run(ZoomTool.write([68, 41]), picture, (112, 84))
    # (68.5 * 2000 / 112, 41.5 * 1500 / 84) = (1223.21, 741.07)
    assert result.box == (1123, 641, 1323, 841)
    assert result.keypoint == pytest.approx((1223.214286, 741.071429))
    assert result.arguments == {"keypoint": [68, 41]}
    assert result.image.size == (200, 200)
    assert result.image.getpixel((1231 - 1123, 742 - 641)) == (255, 255, 255)
    assert sum(result.image.convert("L").histogram()[1:]) == 1


def test_a_crop_of_the_pixels_shown_reveals_nothing_new():
    """A detail that is lost at the shown size, 112x84, is missing from the crop too; the box is the same."""
    picture = Image.new("RGB", (2000, 1500))
    picture.putpixel((1231, 742), (255, 255, 255))
    picture.paste((255, 255, 255), (1123, 641, 1323, 741))
    call = ZoomTool.write([68, 41])
    shown, original = (ZoomTool(crop=200, pixels=p).run(call, picture, (112, 84)) for p in ("shown", "original"))
    assert shown.box == original.box and shown.image.size == original.image.size
    assert original.image.getpixel((108, 101)) == (255, 255, 255)
    assert shown.image.getpixel((108, 115))[0] < 128
    assert shown.image.getpixel((100, 50))[0] > 200  # what is large enough remains visible


def test_the_crop_is_shown_at_the_size_of_the_whole_picture_by_default():
    picture = Image.new("RGB", (2000, 1500))
    text = ZoomTool.write([20, 20])
    default = ZoomTool(crop=40).run(text, picture, (112, 84))
    chosen = ZoomTool(crop=40, output_size=56).run(text, picture, (112, 84))
    assert (default.long_side, chosen.long_side) == (112, 56)
    assert resize_to_grid(default.image, default.long_side, 28, enlarge=True).size == (112, 112)


def test_run_returns_failures():
    tool = ZoomTool(crop=40)
    picture = Image.new("RGB", (2000, 1500))
    assert tool.run("name: zoom", picture, (112, 84)).kind == "missing_argument"
    outside = tool.run(ZoomTool.write([300, 20]), picture, (112, 84))
    assert outside.message == "Error: the keypoint [300, 20] lies outside the 112x84 picture."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": "big"}, "crop=big: must be a whole number, 1 or more"),
        ({"crop": -1}, "crop=-1: must be a whole number, 1 or more"),
        ({"crop": 0}, "crop=0: must be a whole number, 1 or more"),
        ({"crop": 4, "output_size": 0}, "tool.output_size=0: must be a whole number from 1 to 14142"),
        ({"crop": 4, "output_size": 10**6}, "tool.output_size=1000000: must be a whole number from 1 to 14142"),
        ({"crop": 4, "instruction": None}, "tool.instruction=None: must be text"),
        ({"crop": 4, "max_calls": -1}, "tool.max_calls=-1: must be a whole number, 0 or more"),
        (
            {"crop": 4, "pixels": "sharp"},
            "tool.pixels=sharp: must be one of original, shown",
        ),
        (
            {"crop": 4, "coordinates": "pixel"},
            "coordinates=pixel: must be one of shown, original, relative_1000",
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(UserError) as error:
        ZoomTool(**settings)
    assert str(error.value) == message


def test_no_tool_fails_every_call():
    tool = NoTool()
    failure = tool.run(ZoomTool.write([1, 2]), Image.new("RGB", (8, 8)), (8, 8))
    assert (tool.max_calls, failure.kind) == (0, CallError.UNKNOWN_TOOL)


@pytest.mark.parametrize(("name", "tool"), [("zoom", ZoomTool(crop=400)), ("none", NoTool())])
def test_config_builds_the_tool(name, tool):
    config = OmegaConf.create({"crop": 400, "coordinates": "shown", "tool": OmegaConf.load(CONF / f"{name}.yaml")})
    built = instantiate(config.tool, _convert_="all")
    assert replace(built, instruction="") == tool if name == "zoom" else built == tool
    assert ("<tool>" in built.instruction) == (name == "zoom")
