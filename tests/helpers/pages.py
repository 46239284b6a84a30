"""What the pages of the documentation show: commands, and files."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template

from loupe.paths import PROJECT

FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}[^\n]*\n)+")
INLINE = re.compile(r"`([^`]+)`")
TITLED = re.compile(r"^```\w+ title=(\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""A file that a page shows, with its name."""
ASSIGNMENT = re.compile(r"(?:^|;)\s*(\w+)=(?:\"([^\"]*)\"|([^\s;\"$(]+)(?=[\s;]))", re.MULTILINE)
"""A plain value; what the shell would have to compute stays as it is."""


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def prose(text: str) -> str:
    """Markdown without its blocks of code."""
    return INDENTED.sub("", FENCED.sub("", text))


@dataclass(frozen=True)
class Command:
    """A call of an entry. entry: its name, "train". arguments: as the shell passes them. page: all text around it."""

    file: str
    entry: str
    arguments: tuple[str, ...]
    page: str

    def __str__(self) -> str:
        return f"{self.file}: python src/{self.entry}.py {' '.join(self.arguments)}"


def commands(path: Path) -> list[Command]:
    """Every call of an entry, in blocks of code and in running text."""
    page = path.read_text()
    blocks = [*FENCED.findall(page), *INDENTED.findall(FENCED.sub("", page))]
    lines = [line for block in blocks for line in expanded(block)]
    lines += [" ".join(code.split()) for code in INLINE.findall(prose(page))]
    found = []
    for call in (call.strip() for line in lines for call in re.split("&&|;", line)):
        if call.startswith("python src/"):
            _, script, *arguments = shlex.split(call, comments=True)
            found.append(Command(name(path), Path(script).stem, tuple(arguments), page))
    return found


def expanded(block: str) -> list[str]:
    """The lines of a block, continued ones joined, with the shell variables that it sets filled in."""
    variables = {key: one or other for key, one, other in ASSIGNMENT.findall(block)}
    lines = block.replace("\\\n", " ").splitlines()
    return [Template(line).safe_substitute(variables) for line in lines]


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write the files that ``page`` shows into ``folder``, as printed."""
    written = []
    for title, content in TITLED.findall(page.read_text()):
        path = folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        written.append(path)
    return written
