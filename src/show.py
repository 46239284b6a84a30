"""Look at what the policy sees: ``python src/show.py crop=300 show.count=3 paths.output_dir=outputs/look``.

Draws questions of the validation split: the original with the crop that a well-aimed call would cut out, the overview
as it is shown, and the zoom result as it is shown. Writes examples.png.
"""

from pathlib import Path

from loupe import cli, plots, runs


def show(cfg) -> None:
    folder = Path(cfg.paths.output_dir)
    module, data = runs.build_module(cfg), runs.make(cfg.data)
    examples = [data.val[i] for i in range(min(cfg.show.count, len(data.val)))]
    plots.example_figure(examples, module.rollout.dialogue, module.rollout.tool, folder / "examples.png")
    print(f"drawn in {folder / 'examples.png'}")


main = cli.entry("show")(show)

if __name__ == "__main__":
    main()
