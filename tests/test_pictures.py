import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from loupe.errors import BadExample
from loupe.pictures import draw_calls, format_and_size, grid_size, open_picture, resize_to_grid, side_by_side
from loupe.records import OK, ToolEvent

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> list:
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


class Drawn:
    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def render(self) -> Image.Image:
        return self.image


def test_every_kind_of_source(tmp_path):
    red = Image.new("RGB", (3, 2), RED)
    path = tmp_path / "red.png"
    path.write_bytes(encode(red))
    for source in (path, str(path), path.read_bytes(), Drawn(red), Drawn(red.convert("P"))):
        assert pixels(open_picture(source)) == [[[255, 0, 0]] * 3] * 2


def test_format_and_size_come_from_the_header():
    data = encode(Image.effect_noise((64, 48), 50), "JPEG")
    assert format_and_size(data) == format_and_size(data[: len(data) // 2]) == ("JPEG", (64, 48))
    with pytest.raises(BadExample, match="not a picture"):
        format_and_size(b"nothing")


def test_palette_gray_and_bilevel():
    assert pixels(open_picture(encode(Image.new("RGB", (1, 1), RED).quantize()))) == [[[255, 0, 0]]]
    assert pixels(open_picture(encode(Image.new("L", (1, 1), 77)))) == [[[77, 77, 77]]]
    assert pixels(open_picture(encode(Image.new("1", (1, 1), 1)))) == [[[255, 255, 255]]]


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 51)])  # 51 / 255 black = 80% white
    assert pixels(open_picture(encode(image))) == [[[255, 255, 255], [255, 0, 0], [204, 204, 204]]]
    gray = Image.new("LA", (1, 1), (0, 0))
    assert pixels(open_picture(encode(gray))) == [[[255, 255, 255]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    data = encode(palette, transparency=0)
    assert pixels(open_picture(data)) == [[[255, 255, 255], [0, 0, 255]]]


def test_cmyk():
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert open_picture(data).getpixel((4, 4)) == RED


def test_16_bit_gray_is_scaled_and_not_clipped():
    image = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    expected = [[[0, 0, 0], [100, 100, 100], [255, 255, 255]]]
    assert image.mode == "I;16"
    assert pixels(open_picture(encode(image))) == expected
    assert pixels(open_picture(encode(image, "TIFF"))) == expected
    assert pixels(open_picture(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 25700, 65535))) == expected  # mode I


# Where the top-left pixel of the file belongs, in a file of 3x2 pixels.
@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (3, 2), (0, 0)),
        (2, (3, 2), (2, 0)),
        (3, (3, 2), (2, 1)),
        (4, (3, 2), (0, 1)),
        (5, (2, 3), (0, 0)),
        (6, (2, 3), (1, 0)),
        (7, (2, 3), (1, 2)),
        (8, (2, 3), (0, 2)),
    ],
)
def test_exif_rotation(orientation, size, corner):
    image = Image.new("RGB", (3, 2), WHITE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_picture(encode(image, exif=exif))
    assert opened.size == size
    assert opened.getpixel(corner) == RED
    assert opened.getexif().get(0x0112, 1) == 1  # so that nothing rotates it a second time


def test_missing_file_is_named(tmp_path):
    path = tmp_path / "gone.jpg"
    with pytest.raises(BadExample) as error:
        open_picture(path)
    assert str(error.value) == f"{path}: No such file or directory; check the path of the picture"
    with pytest.raises(BadExample, match="Is a directory; check the path"):
        open_picture(tmp_path)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        encode(NOISE, "JPEG")[:1500],
        encode(NOISE, "PNG")[:1500],
        encode(NOISE, "WEBP")[:1500],
        encode(NOISE, "PNG").replace(b"IDAT", b"I\xffAT"),
        b"P6 4 4 255\nxx",
        b"P6 0 4 255\n",
    ],
    ids=["empty", "text", "jpeg", "png", "webp", "chunk", "ppm", "zero-size"],
)
def test_unreadable_bytes(data):
    with pytest.raises(BadExample) as error:
        open_picture(data)
    assert str(error.value) == (
        f"<picture of {len(data)} bytes>: corrupt, truncated or not a picture; replace it or drop the row"
    )


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_flipped_bytes_raise_nothing_else():
    rng = np.random.default_rng(0)
    small = NOISE.resize((12, 9))
    broken = 0
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "PPM"):
        for _ in range(60):
            data = np.frombuffer(encode(small, kind), dtype=np.uint8).copy()
            data[rng.integers(0, min(len(data), 120), 3)] = rng.integers(0, 256, 3)
            try:
                assert open_picture(data.tobytes()).mode == "RGB"
            except BadExample:
                broken += 1
    assert broken > 60


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_pixel_limit_is_200_million_and_pillows_own_is_untouched():
    before = Image.MAX_IMAGE_PIXELS
    idat = struct.pack(">I", 0) + b"IDAT"
    with pytest.raises(BadExample, match="20001x10000 pixels; use a picture of 1 to 200 million pixels"):
        open_picture(png_header(20001, 10000) + idat)
    with pytest.raises(BadExample, match="truncated"):  # the size is fine, the data is missing
        open_picture(png_header(20000, 10000) + idat)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_drawn_picture_without_pixels():
    with pytest.raises(BadExample, match="<Drawn>: 0x5 pixels"):
        open_picture(Drawn(Image.new("RGB", (0, 5))))


@pytest.mark.parametrize(
    ("width", "height", "long_side", "enlarge", "size"),
    [
        (1600, 1200, 112, False, (112, 84)),
        (1200, 1600, 112, False, (84, 112)),
        (1600, 1000, 112, False, (112, 84)),  # 70 = 2.5 factors: halves go up
        (1600, 800, 112, False, (112, 56)),
        (1600, 1200, 130, False, (140, 84)),  # 130 x 97.5 = 4.64 x 3.48 factors: over long_side
        (1600, 1200, 1024, False, (1036, 756)),  # 1024 x 768 = 36.57 x 27.43 factors
        (100, 60, 112, False, (112, 56)),  # keeps its size: 100 x 60 = 3.57 x 2.14 factors
        (56, 28, 112, False, (56, 28)),
        (56, 28, 112, True, (112, 56)),
        (400, 400, 112, True, (112, 112)),  # enlarge also shrinks
        (1, 1000, 112, False, (28, 112)),
        (1, 1, 112, False, (28, 28)),
        (1, 1, 112, True, (112, 112)),
        (800, 600, 5, False, (28, 28)),
    ],
)
def test_grid_size(width, height, long_side, enlarge, size):
    assert grid_size(width, height, long_side, 28, enlarge) == size


def test_grid_size_of_another_factor():
    assert grid_size(1600, 1200, 128, factor=32) == (128, 96)


def test_resizing_keeps_flat_color_and_averages_detail():
    flat = resize_to_grid(Image.new("RGB", (300, 200), (10, 20, 30)), 84, 28)
    assert pixels(flat) == [[[10, 20, 30]] * 84] * 56
    stripes = np.zeros((224, 224, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    shrunk = np.asarray(resize_to_grid(Image.fromarray(stripes), 28, 28))
    assert shrunk.shape == (28, 28, 3)
    assert np.abs(shrunk.astype(int) - 127.5).max() < 8  # without antialiasing: all 0 or 255


def test_a_picture_on_the_grid_is_unchanged():
    image = NOISE.resize((56, 28))
    assert pixels(resize_to_grid(image, 112, 28)) == pixels(image)


YELLOW, BLACK = (255, 255, 0), (0, 0, 0)


def aimed(keypoint, box):
    return ToolEvent(OK, "zoom", keypoint=keypoint, box=box)


def test_drawing_of_a_zoom():
    picture = Image.new("RGB", (1280, 960))
    drawn = draw_calls(picture, [aimed((400.5, 300.5), (200, 100, 600, 500))])
    assert drawn.size == (640, 480)
    assert drawn.getpixel((100, 150)) == drawn.getpixel((299, 150)) == RED  # left and right edge, halved
    assert drawn.getpixel((200, 50)) == drawn.getpixel((200, 249)) == RED
    assert drawn.getpixel((150, 150)) == drawn.getpixel((400, 150)) == BLACK
    assert picture.getextrema() == ((0, 0),) * 3  # the original is not drawn on


def test_a_ring_surrounds_what_is_pointed_at_and_does_not_hide_it():
    drawn = draw_calls(
        Image.new("RGB", (640, 480)), [aimed((200, 150), None), aimed((400, 150), None), aimed(None, None)]
    )
    for x in (200, 400):
        row = [drawn.getpixel((x + right, 150)) for right in range(35)]
        assert set(row[:24]) == set(row[29:]) == {BLACK}
        assert YELLOW in row[24:29] and RED in row[24:29]


def test_drawing_on_tiny_and_narrow_pictures():
    assert draw_calls(Image.new("RGB", (8, 8)), [aimed((0.5, 0.5), (0, 0, 1, 1))]).size == (8, 8)
    assert draw_calls(Image.new("RGB", (6400, 3)), [aimed((6399.5, 0.5), (6399, 0, 6400, 1))]).size == (640, 1)


def test_pictures_in_a_row_keep_their_sizes():
    row = side_by_side([Image.new("RGB", (3, 2), RED), Image.new("RGB", (1, 4))], gap=2)
    assert row.size == (6, 4)
    assert [row.getpixel((x, 1)) for x in range(6)] == [RED] * 3 + [WHITE] * 2 + [BLACK]
    assert row.getpixel((0, 0)) == WHITE and row.getpixel((5, 0)) == BLACK
