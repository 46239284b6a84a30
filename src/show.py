"""Look at what the policy sees: ``python src/show.py crop=300 show.count=3 paths.output_dir=outputs/look``.

Draws the first questions of the validation split, or of the first split that there is: the original with the crop of a
well-aimed call (at the middle, where no box is known), the overview as shown, and the zoom result as shown. Prints the
questions with their reference answers. Writes examples.png, and the originals as 1.jpg, 2.jpg and so on, to try
src/ask.py on.
"""

import logging

from loupe.data.datamodule import LoupeDataModule
from loupe.engine.dialogue import Dialogue
from loupe.errors import BadExample, UserError, require_int
from loupe.pictures import open_picture
from loupe.records import Example
from loupe.runs import build, cli, plots, run
from loupe.runs.config import instantiate

LOG = logging.getLogger(__name__)


def show(cfg) -> None:
    count = require_int("show.count", cfg.show.count, 1)
    with run.job(cfg) as out:
        data = instantiate(cfg.data)  # before the model, which may take long to load
        rollout = build.build_module(cfg).rollout
        examples = readable(data, rollout.dialogue, count)
        plots.example_figure(examples, rollout.dialogue, out / "examples.png")
        for number, example in enumerate(examples, start=1):
            open_picture(example.image).save(out / f"{number}.jpg", quality=95)
            print(f"{out / f'{number}.jpg'}: {example.question} -> {plots.expected(example)}")
        print(f"drawn in {out / 'examples.png'}")


def readable(data: LoupeDataModule, dialogue: Dialogue, count: int) -> list[Example]:
    """The first questions of a split that a policy can be asked; the others before them are named in the log."""
    split = next((split for split in (data.val, data.test, data.train) if split is not None), None)
    if split is None:
        raise UserError("data=none: there are no questions to show; choose another data set")
    examples: list[Example] = []
    for number in range(len(split)):
        if len(examples) == count:
            break
        try:
            dialogue.prompt(split[number])
            examples.append(split[number])
        except BadExample as error:
            LOG.warning("skipped: %s", error)
    if not examples:
        raise UserError("none of the questions could be read; see the skipped rows above")
    return examples


main = cli.entry(show)

if __name__ == "__main__":
    main()
