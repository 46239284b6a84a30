from PIL import Image

from loupe.geometry import View
from loupe.tools.rotate import RotateTool


def test_pictures_are_turned_clockwise():
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((0, 0), (255, 0, 0))  # at the upper left
    corners = {}
    for degrees in (90, 180, 270):
        turned = RotateTool().run({"degrees": degrees}, View.of_question(picture, (3, 2), "shown")).image
        width, height = turned.size
        places = [(x, y) for x in range(width) for y in range(height) if turned.getpixel((x, y)) == (255, 0, 0)]
        corners[degrees] = turned.size, places
    assert corners == {90: ((2, 3), [(1, 0)]), 180: ((3, 2), [(2, 1)]), 270: ((2, 3), [(0, 2)])}
