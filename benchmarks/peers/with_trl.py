"""TRL's side: its GRPOTrainer with an environment whose tool returns a picture, on its transformers path.

What it is spared: drawing and reducing the pictures of the questions, and scoring the answers. Its batch size in the
update is a setting, which ``compare.py`` tunes. All trajectories of a step are generated in one batch.
"""

import json
import os
import sys
import tempfile

import task
import torch
from datasets import Dataset
from recorder import Recorder
from transformers import LogitsProcessorList, Qwen2_5_VLProcessor, TrainerCallback
from transformers.processing_utils import ProcessorMixin
from trl import GRPOConfig, GRPOTrainer

from loupe.models.tiny import CHAT_TEMPLATE

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

TEMPLATE = CHAT_TEMPLATE.replace(
    "message['role']", "('user' if message['role'] == 'tool' else message['role'])"
).replace(
    "{{- '<|im_end|>\n' -}}",
    "{%- for call in message['tool_calls'] or [] -%}{{- '<tool>\nname: ' + call['function']['name'] + '\n' -}}"
    "{%- for name, value in call['function']['arguments'].items() -%}{{- name + ': ' + value | string + '\n' -}}"
    "{%- endfor -%}{{- '</tool>' -}}{%- endfor -%}{{- '<|im_end|>\n' -}}",
)
"""Loupe's template, with calls of tools. Their results stand in the user's turn, as in Qwen's own template."""

CALL = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<tool>\s*name: (?P<name>\w+)\s*keypoint: ",
            "close_pattern": r"\s*</tool>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": {"keypoint": "{content}"}}},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}
"""How transformers reads Loupe's calls."""


class Processor(Qwen2_5_VLProcessor):
    """Without a video processor, which needs torchvision."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        self.image_token = "<|image_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token = "<|video_pad|>"
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class Timing(TrainerCallback):
    """Brackets the steps of the trainer."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def on_step_begin(self, *args, **kwargs) -> None:
        self.recorder.begin()

    def on_step_end(self, *args, **kwargs) -> None:
        self.recorder.end()


class Script:
    """A logits processor that leaves one token possible: the next one of the script."""

    def __init__(self, turns: torch.Tensor, prompt_length: int):
        self.turns, self.prompt_length = turns, prompt_length

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = self.turns[:, ids.shape[1] - self.prompt_length, None]
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


def zoom_environment(module, examples):
    """The class of an environment with Loupe's zoom as its tool."""
    dialogue = module.rollout.dialogue
    tools = dialogue.tools
    prompts = [dialogue.prompt(example) for example in examples]

    class Zoom:
        def reset(self, number: int, **kwargs) -> None:
            self.prompt = prompts[number]

        def zoom(self, keypoint: list[int]) -> list[dict]:
            """Show a detail of the original picture.

            Args:
                keypoint: The center of the detail, [x, y].
            """
            result = tools.execute(tools.form.write("zoom", {"keypoint": str(keypoint)}), self.prompt.views()[-1])
            return [{"type": "image", "image": dialogue.close_up(result, max(self.prompt.shown_size))}]

    return Zoom


def questions(module, examples) -> Dataset:
    """One row per question, with its picture as shown."""
    dialogue, rows = module.rollout.dialogue, []
    for number, example in enumerate(examples):
        shown = dialogue.overview(example.image.picture)
        text = dialogue.user.format(question=example.question, frame="", width=shown.width, height=shown.height)
        turns = [
            {"role": "system", "content": dialogue.system},
            {"role": "user", "content": text.removeprefix("<image>")},
        ]
        rows.append({"prompt": turns, "image": shown, "number": number})
    return Dataset.from_list(rows)


def follow_script(trainer: GRPOTrainer, turns: list[list[list[int]]], rows: int) -> None:
    """Make the model's ``generate`` write the turns instead of sampling."""
    generate, model = trainer.model.generate, trainer.model
    by_turn = [torch.tensor(turn).repeat(rows // len(turns), 1) for turn in zip(*turns, strict=True)]
    made = 0

    def scripted(**kwargs):
        nonlocal made
        turn, made = by_turn[made % len(by_turn)], made + 1
        return generate(**kwargs, logits_processor=LogitsProcessorList([Script(turn, kwargs["input_ids"].shape[1])]))

    model.generate = scripted


def record(trainer: GRPOTrainer, recorder: Recorder) -> None:
    """Tell the recorder when a rollout is over, what it holds, and the norm of the gradient."""
    sample, score, clip = (
        trainer._generate,
        trainer._generate_and_score_completions,
        trainer.accelerator.clip_grad_norm_,
    )
    found = {}

    def _generate(prompts):
        out = sample(prompts)
        found["rows"] = [
            (p, c, m or [1] * len(c)) for p, c, m in zip(*out[:2], out[2] or [None] * len(out[0]), strict=True)
        ]
        return out

    def _generate_and_score_completions(inputs):
        out = score(inputs)
        recorder.sampled(task.digest(found["rows"]))
        return out

    def clip_grad_norm_(*args, **kwargs):
        norm = clip(*args, **kwargs)
        recorder.norm = float(norm)
        return norm

    trainer._generate, trainer._generate_and_score_completions = _generate, _generate_and_score_completions
    trainer.accelerator.clip_grad_norm_ = clip_grad_norm_


def config(point: task.Point, rows: int, folder: str) -> GRPOConfig:
    """Loupe's default algorithm. rows: trajectories per forward and backward pass of the update."""
    total = point.questions * point.group
    return GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=total // rows,
        num_generations=point.group,
        activation_checkpointing=False,
        max_steps=100000,
        max_completion_length=4096,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        loss_type="grpo",
        epsilon=0.2,
        epsilon_high=0.28,
        learning_rate=1e-4,
        max_grad_norm=1.0,
        shuffle_dataset=False,
        logging_steps=10**6,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    point = task.Point(**settings["point"])
    module, examples = task.build(point)
    policy = module.policy
    policy.tokenizer.chat_template, policy.tokenizer.response_template = TEMPLATE, CALL
    environment = {"environment_factory": zoom_environment(module, examples)} if point.zoom else {}

    def fixed_reward(completions, **kwargs):
        return [task.reward(row % point.group) for row in range(len(completions))]

    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=policy.model,
            reward_funcs=fixed_reward,
            args=config(point, settings["rows"], folder),
            train_dataset=questions(module, examples),
            processing_class=Processor(policy.image_processor, policy.tokenizer, TEMPLATE),
            callbacks=[Timing(recorder)],
            **environment,
        )
        follow_script(trainer, task.script(point, policy.tokenizer), point.questions * point.group)
        record(trainer, recorder)
        trainer.train()


if __name__ == "__main__":
    main()
