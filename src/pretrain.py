"""Make the base of the miniature: ``python src/pretrain.py``. It ends in ``paths.output_dir``/model.

Shows the skills apart while it trains: reading, pointing, direct answers, and the protocol.
"""

from functools import partial

from loupe.pretrain.curriculum import Curriculum
from loupe.pretrain.module import finish
from loupe.pretrain.skills import Skills
from loupe.pretrain.teacher import Teacher
from loupe.runs import cli
from loupe.runs import run as runs


def build(cfg):
    """The module to train, and the teacher's lessons in it."""
    policy = runs.make(cfg.model)
    teacher = Teacher(partial(runs.maker(cfg.prompt), policy=policy), runs.make(cfg.tool))
    make_rollout = partial(runs.build_rollout, cfg, policy)
    heldout = runs.make(cfg.data).val
    skills = Skills(teacher, make_rollout, cfg.resolution, heldout)
    curriculum = Curriculum(teacher, cfg.trainer.max_steps, cfg.seed, heldout.style, cfg.pretrain.course)
    return runs.make(cfg.pretrain.module, policy=policy, curriculum=curriculum, measure=skills)


def pretrain(cfg) -> dict:
    with runs.job(cfg) as folder:
        module = build(cfg)
        trainer = runs.build_trainer(cfg, folder, keep_best=False, one_device=True)
        runs.begin(cfg, folder)
        with runs.finishing(trainer):
            trainer.fit(module, ckpt_path=runs.checkpoint(cfg))
            return finish(folder, module)


main = cli.entry("pretrain")(pretrain)

if __name__ == "__main__":
    main()
