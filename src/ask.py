"""Ask a policy one question: ``python src/ask.py image=photo.jpg question="What does the sign say?"``.

Prints the exchange and saves exchange.png: the picture with keypoint and crop box, and the crop beside it.
"""

from itertools import zip_longest

from omegaconf import OmegaConf

from loupe.errors import UserError, require_choice
from loupe.paths import of_setting
from loupe.records import Example, Group
from loupe.runs import build, cli, folder, plots, run
from loupe.runs.config import instantiate


def question(cfg) -> Example:
    """The question and its pictures, checked before a model is loaded."""
    for key in ("image", "question"):
        if OmegaConf.is_missing(cfg, key) or not str(cfg[key]).strip():
            raise UserError(f'{key} is empty; give image=photo.jpg question="What does the sign say?"')
    if not OmegaConf.is_list(cfg.earlier):
        raise UserError(f"earlier={cfg.earlier}: must be a list of pictures, such as [a.jpg, b.jpg]")
    *earlier, path = (of_setting(name) for name in (*cfg.earlier, cfg.image))
    if missing := [file for file in (*earlier, path) if not file.is_file()]:
        raise UserError(f"{'image' if missing[0] == path else 'earlier'}={missing[0]}: no such file")
    require_choice("ask.greedy", cfg.ask.greedy, (True, False))
    return Example(path.name, path, str(cfg.question), references=(), earlier_images=tuple(earlier))


def ask(cfg) -> Group:
    """One answer to one question, by the model of ``model.path``."""
    with run.job(cfg) as out:
        example = question(cfg)
        folder.open_for_entry(cfg, out)
        policy = instantiate(cfg.model, trainable=False)
        rollout = build.build_rollout(cfg, policy, instantiate(cfg.tool))
        with build.device(cfg, policy):
            groups, skipped = rollout([example], 1, step=0, greedy=cfg.ask.greedy)
        if skipped:
            raise skipped[0]
        print_exchange(groups[0])
        plots.exchange_picture(groups[0], rollout.environment).save(out / "exchange.png")
        print(f"drawn in {out / 'exchange.png'}")
        return groups[0]


def print_exchange(group: Group) -> None:
    """The question, every turn, and the result of each call."""
    trajectory, (width, height) = group.trajectories[0], group.prompt.shown_size
    print(f"[{group.example.id}, shown at {width}x{height}] {group.example.question}")
    for turn, event in zip_longest(trajectory.turns, trajectory.events):
        print(turn)
        if event:
            where = f"pixels {list(event.box)} of the picture" if event.box else "a picture" if event.pictured else ""
            print(f"[{event.status}: {' '.join(filter(None, (where, event.text))) or 'not executed'}]")
    print(f"answer: {trajectory.answer}" if trajectory.answer else f"no answer ({trajectory.stop})")


main = cli.entry(ask, literal=("image", "question", "paths.output_dir"))

if __name__ == "__main__":
    main()
