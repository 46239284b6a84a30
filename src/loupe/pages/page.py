"""Rendering report.html: page.html.jinja with page.css and the scripts, all in one file.

Charts are inline SVG that charts.js draws: a library that hovers and works offline (plotly, vega) takes megabytes in
every folder, and a few lines and bands take a hundred lines of script. All text from data reaches the page through
Jinja's escaping, or as JSON that the scripts only ever assign to ``textContent``.
"""

import base64
import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loupe.atomic import replacing
from loupe.errors import UserError
from loupe.logs.rows import PICTURES
from loupe.pages.cards import pictures_of
from loupe.pages.comparison import comparison
from loupe.pages.contents import contents
from loupe.runs.files import RunFile
from loupe.runs.palette import STYLES, SUBSET_COLORS

HERE = Path(__file__).parent
ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
ENVIRONMENT.globals["file"] = lambda name: Markup((HERE / name).read_text())
MEDIA = {".png": "image/png", ".jpg": "image/jpeg"}
MOST_CARDS = 10_000
COMPARISON = "comparison.html"
SECTIONS = (
    *("facts", "settings", "runs", "differing", "table", "confusion", "jobs", "multiples", "charts", "advantages"),
    *("pointed", "films", "gallery", "weights"),
)


def write_page(folder: Path, bundle: bool = False, most: int = MOST_CARDS) -> Path:
    """Write the page of a run, an evaluation or a sweep into its folder; returns its path.

    bundle: put the pictures into the page itself, so that one file can be sent. most: the largest number of cards.
    Raises UserError if the folder holds none of these, or if a file in it is damaged.
    """
    found = contents(folder, most)
    names = pictures_of(found["gallery"]["groups"]) if bundle and found.get("gallery") else set()
    pictures = {name: data_url(path) for name in sorted(names) if (path := folder / PICTURES / name).is_file()}
    return _write(folder / RunFile.REPORT, found, pictures)


def write_comparison(folders: list[Path]) -> Path:
    """Write the page that compares runs into the folder that holds them all; returns its path. Raises UserError."""
    home = Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    return _write(home / COMPARISON, comparison([folder.resolve() for folder in folders], home), {})


def _write(path: Path, found: dict, pictures: dict[str, str]) -> Path:
    """Render the page with these contents; pictures: inside it, by name. Raises UserError if it cannot."""
    found = dict.fromkeys(SECTIONS) | found
    styles = {kind.value: label for kind, (label, _) in STYLES.items()}
    drawn = {key: found[key] for key in ("charts", "multiples", "advantages", "gallery", "weights")}
    data = drawn | {"folder": PICTURES, "pictures": pictures, "types": styles}
    page = ENVIRONMENT.get_template("page.html.jinja").render(
        page=found,
        data=data,
        type_colors={kind.value: color for kind, (_, color) in STYLES.items()},
        part_colors=SUBSET_COLORS,
    )
    try:
        with replacing(path) as partial:
            partial.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def data_url(path: Path) -> str:
    return f"data:{MEDIA[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
