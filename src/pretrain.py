"""Train the base of the miniature: ``python src/pretrain.py``. Saves it to ``paths.output_dir``/model.

Reports each skill separately while it trains: reading, pointing, direct answers, and the protocol.
"""

from functools import partial

from loupe.data.signs import Signs
from loupe.errors import UserError
from loupe.pretrain.curriculum import Curriculum
from loupe.pretrain.module import finish
from loupe.pretrain.skills import Skills
from loupe.pretrain.teacher import Teacher
from loupe.runs import build, cli, folder, run
from loupe.runs.config import factory, instantiate
from loupe.runs.lock import locked


def build_module(cfg):
    """The module to train, with its curriculum."""
    heldout = instantiate(cfg.data).val
    if not isinstance(heldout, Signs):
        raise UserError("lessons are about rendered signs: choose data=signs or data=boxes")
    policy, tools = instantiate(cfg.model), instantiate(cfg.tool)
    teacher = Teacher(partial(factory(cfg.prompt), policy=policy), tools)
    make_rollout = partial(build.build_rollout, cfg, policy)
    skills = Skills(teacher, make_rollout, cfg.resolution, heldout)
    curriculum = Curriculum(teacher, cfg.trainer.max_steps, cfg.seed, heldout.style, cfg.pretrain.course)
    judged = {"rollout": make_rollout(tools), "reward": instantiate(cfg.reward), "reporter": instantiate(cfg.report)}
    return instantiate(cfg.pretrain.module, policy=policy, curriculum=curriculum, measure=skills, **judged)


def pretrain(cfg) -> dict:
    """Train a base; returns its skills."""
    with run.job(cfg) as out, locked(out):
        module = build_module(cfg)
        trainer = build.build_trainer(cfg, out, keep_best=False, one_device=True)
        folder.open_for_training(cfg, out)
        with run.finishing(trainer):
            trainer.fit(module, ckpt_path=folder.checkpoint_path(cfg))
            return finish(out, module)


main = cli.entry(pretrain)

if __name__ == "__main__":
    main()
