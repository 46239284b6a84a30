"""Look at what the policy sees: ``python src/show.py crop=300 show.count=3 paths.output_dir=outputs/look``.

Draws questions of the validation split: the original with the crop of a well-aimed call, the overview as shown, and the
zoom result as shown. Writes examples.png, and the originals as 1.jpg, 2.jpg and so on, to try src/ask.py on.
"""

from loupe.errors import UserError, require_int
from loupe.pictures import open_picture
from loupe.runs import build, cli, plots, run
from loupe.runs.config import instantiate
from loupe.tools.zoom import ZoomTool


def show(cfg) -> None:
    count = require_int("show.count", cfg.show.count, 1)
    with run.job(cfg) as out:
        module, data = build.build_module(cfg), instantiate(cfg.data)
        tool = module.rollout.dialogue.tools.tools.get("zoom")
        if not isinstance(tool, ZoomTool):
            raise UserError("there is no zoom to show; use tool=zoom with tool.max_calls of 1 or more")
        examples = [data.val[i] for i in range(min(count, len(data.val)))]
        plots.example_figure(examples, module.rollout.dialogue, tool, out / "examples.png")
        for number, example in enumerate(examples, start=1):
            open_picture(example.image).save(out / f"{number}.jpg", quality=95)
            print(f"{out / f'{number}.jpg'}: {example.question}")
        print(f"drawn in {out / 'examples.png'}")


main = cli.entry(show)

if __name__ == "__main__":
    main()
