"""The loss and the gradient of a step against transformers' own, one conversation at a time."""

import io
from types import SimpleNamespace

import pytest
import torch
from conftest import examples, make_rollout
from helpers.compare import assert_norms_close
from PIL import Image

from loupe.errors import BadExample, NonFiniteError
from loupe.logs.reporter import Reporter
from loupe.models import tiny
from loupe.models.load import load_policy
from loupe.rewards.composite import CompositeReward
from loupe.sft.data import Lessons
from loupe.sft.module import SupervisedModule
from loupe.sft.traces import Observed, Trace, by_question
from loupe.sft.writer import Writer

CALL = "<think>Small.</think>\n<tool>\nname: zoom\nkeypoint: [20, 40]\n</tool>"
ANSWERS = ("<answer>472</answer>", "<think>I can read it.</think>\n<answer>81</answer>", "no tags here")


def encoded(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def traces():
    """Three conversations about one picture, two of them with a crop, and one about another."""
    first, second = examples(2)
    crop = encoded(first.image.render().crop((0, 0, 300, 200)))
    made = [
        Trace("a", lambda: first, "1", "1", (CALL, ANSWERS[0]), (Observed(image=crop),)),
        Trace("b", lambda: first, "1", "1", (CALL, "hm", ANSWERS[1]), (Observed("Look again.", crop), Observed("So?"))),
        Trace("c", lambda: first, "1", "1", (ANSWERS[2],), ()),
    ]
    return [*made, Trace("d", lambda: second, "2", "2", (ANSWERS[0],), ())]


def lessons_of(policy, budget):
    return Lessons(by_question(traces()), Writer(make_rollout(policy).environment), budget)


def make_module(policy, lr=0.1, **options):
    made = {"rollout": make_rollout(policy), "reward": CompositeReward({}, {}), "reporter": Reporter()}
    made |= {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=lr), "total_steps": 10}
    module = SupervisedModule(policy, **made | {"max_grad_norm": 1e9, "warmup_steps": 0} | options)
    optimizers, schedules = module.configure_optimizers()
    wrapped = [SimpleNamespace(optimizer=optimizer, step=optimizer.step) for optimizer in optimizers]
    module.optimizers, module.lr_schedulers = (lambda: wrapped), (lambda: schedules)
    module.log = lambda *_, **__: None
    return module


def conversation(trace, policy):
    """The messages of a trace, written by the chat template with its placeholders repeated, and the labels."""
    dialogue = make_rollout(policy).dialogue
    pictures = [dialogue.overview(trace.example().image.render())]
    shown, part = pictures[0], {"type": "image"}
    text = f"The picture is {shown.width}x{shown.height} pixels. {trace.example().question}"
    messages = [("system", dialogue.system), ("user", [part, {"type": "text", "text": text}])]
    for number, turn in enumerate(trace.turns):
        messages.append(("assistant", turn))
        if number < len(trace.observed):
            observed = trace.observed[number]
            content = [{"type": "text", "text": observed.text}] if observed.text else []
            if observed.image:
                crop = Image.open(io.BytesIO(observed.image))
                pictures.append(crop.resize((112, 84), Image.Resampling.BICUBIC, reducing_gap=3.0))
                content.insert(0, part)
            messages.append(("user", content))
    rendered = policy.tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in messages], tokenize=False
    )
    patches = [policy.patches(picture) for picture in pictures]
    for image in patches:
        rendered = rendered.replace("<|image_pad|>", "<pad>" * image.tokens(policy.merge), 1)
    return rendered.replace("<pad>", "<|image_pad|>"), patches


def labelled(trace, policy):
    """Token ids and labels: the policy's turns, and the end of a turn only where no tag ends it."""
    rendered, patches = conversation(trace, policy)
    encoding = policy.tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
    learned, at = set(), 0
    for turn in trace.turns:
        start = rendered.index(f"assistant\n{turn}", at) + len("assistant\n")
        at = start + len(turn) + (0 if turn.endswith(("</answer>", "</tool>")) else len("<|im_end|>"))
        learned |= set(range(start, at))
    ids = encoding["input_ids"]
    labels = [i if span[0] in learned else -100 for i, span in zip(ids, encoding["offset_mapping"], strict=True)]
    return ids, labels, patches


def plain(policy):
    """The sum of transformers' losses, and its gradient, divided by the number of labels of all conversations."""
    rows = [labelled(trace, policy) for trace in traces()]
    count = sum(label != -100 for _, labels, _ in rows for label in labels)
    loss = 0.0
    for ids, labels, patches in rows:
        tokens = torch.tensor([ids])
        out = policy.backbone(
            input_ids=tokens,
            mm_token_type_ids=(tokens == policy.image_token).long(),
            pixel_values=torch.cat([image.pixels for image in patches]).to(policy.backbone.dtype),
            image_grid_thw=torch.tensor([image.grid for image in patches]),
            labels=torch.tensor([labels]),
            use_cache=False,
        )
        part = out.loss * sum(label != -100 for label in labels) / count
        part.backward()
        loss += part.item()
    return loss, taken(policy)


def taken(policy):
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return gradients


LORA = {"r": 4, "alpha": 8, "target": "all-linear"}


@pytest.mark.parametrize(("lora", "budget"), [(None, 700), (LORA, 100_000)])
def test_loss_and_gradient_equal_those_of_transformers(lora, budget):
    policy = load_policy(None, tiny.build, lora).double()
    policy.ban.zero_()  # transformers does not know of it
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:  # begins at zero, and then the other factor has no gradient
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(1))
    expected, gradients = plain(policy)
    report, step = taken_step(make_module(policy, lr=1.0), lessons_of(policy, budget)[[0, 1]])
    assert report["loss"] == pytest.approx(expected, abs=1e-5)
    assert_norms_close(step, gradients, 1e-5)


def taken_step(module, material):
    """What a training step reports, and by how much it lowers each weight that it trains."""
    trained = {name: p for name, p in module.policy.named_parameters() if p.requires_grad}
    before, reports = {name: p.detach().clone() for name, p in trained.items()}, []
    module.reporter.training = lambda loggers, step, report, groups, rows: reports.append(report)
    module.training_step(material, 0)
    return reports[0], {name: before[name] - p.detach() for name, p in trained.items()}


def test_tokens_that_must_not_be_written_are_banned(policy):
    """As in sampling: their share of the probability goes to the others, so the loss is smaller."""
    material = lessons_of(policy, 10_000)[[1]]
    banned, _ = taken_step(make_module(policy, lr=0.0), material)
    policy.ban.zero_()
    free, _ = taken_step(make_module(policy, lr=0.0), material)
    assert banned["loss"] < free["loss"] - 1e-3


def test_two_optimizers_share_the_weights(policy):
    """The matrices of the layers move by the one, everything else by the other."""
    options = {"matrix_optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.0)}
    _, step = taken_step(make_module(policy, **options), lessons_of(policy, 10_000)[[1]])
    moved = {name for name, change in step.items() if change.any()}
    assert moved and all("embed" in name or policy.get_parameter(name).ndim != 2 for name in moved)


def test_an_optimizer_for_which_no_weights_are_left_is_left_out(policy):
    """As with an adapter, which has nothing but matrices."""
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(parameter.ndim == 2 and "embed" not in name)
    module = make_module(policy, matrix_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5))
    optimizers, schedules = module.configure_optimizers()
    assert [optimizer.param_groups[0]["initial_lr"] for optimizer in optimizers] == [0.5] and len(schedules) == 1


def test_rows_that_cannot_be_read_are_counted_and_named(policy, caplog):
    report, step = taken_step(make_module(policy), [BadExample("a: no picture"), BadExample("b: no picture")])
    assert (report["data/skipped"], report["loss"]) == (2, 0.0)
    assert "skipped: a: no picture" in caplog.text
    assert not any(change.any() for change in step.values())


def test_a_loss_that_is_not_finite_stops_the_run(policy):
    policy.backbone.lm_head.weight.data[:] = torch.nan
    with pytest.raises(NonFiniteError, match=r"loss nan; lower sft\.module\.\*optimizer\.lr"):
        taken_step(make_module(policy), lessons_of(policy, 10_000)[[1]])
