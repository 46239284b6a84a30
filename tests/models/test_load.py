import contextlib
import importlib.util
import json
import math
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from conftest import MIXED, scripted

from loupe.engine import update
from loupe.engine.adapter import adapter_off
from loupe.errors import UserError
from loupe.models import load
from loupe.models.load import load_policy, save_policy
from loupe.models.tiny import build
from loupe.paths import package_path

LORA = {"r": 4, "alpha": 8}


def logprobs(policy, groups):
    return [logp for _, logp in update.logprobs(policy, groups, 1.0, 100_000)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    policy = load_policy(None, build)
    save_policy(policy, folder)
    return policy, folder


def test_a_saved_model_is_the_same_when_loaded(saved):
    policy, folder = saved
    again = load_policy(str(folder))
    groups = scripted(policy, MIXED[:3], max_new_tokens=60)
    assert logprobs(again, groups) == logprobs(policy, groups)
    assert again.banned == policy.banned
    assert scripted(again, MIXED[:3], max_new_tokens=60)[0].trajectories[1].ids == groups[0].trajectories[1].ids


def test_an_adapter_is_the_same_when_loaded(tmp_path):
    policy = load_policy(None, build, LORA)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    save_policy(policy, tmp_path)
    again = load_policy(str(tmp_path), build)
    groups = scripted(policy, MIXED[:3], max_new_tokens=60)
    assert logprobs(again, groups) == logprobs(policy, groups)
    with adapter_off(policy):
        assert logprobs(policy, groups) != logprobs(again, groups)
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {
        n for n, p in policy.named_parameters() if p.requires_grad
    }


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter on the miniature, whose base is given by its path on this machine."""
    return save_adapter(package_path("models/miniature"), tmp_path_factory.mktemp("adapter") / "model")


def save_adapter(base, folder):
    policy = load_policy(base, lora=LORA)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    save_policy(policy, folder)
    return policy, folder


def named_base(folder, base=None):
    """The base that an adapter names. If ``base`` is given, the adapter names that from then on."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | ({"base_model_name_or_path": base} if base else {})))
    return config["base_model_name_or_path"]


def same(policy, again):
    groups = scripted(policy, MIXED[:3], max_new_tokens=60)
    return logprobs(again, groups) == logprobs(policy, groups)


def test_an_adapter_on_the_miniature_finds_it_from_any_folder(adapter, tmp_path, monkeypatch):
    policy, folder = adapter
    assert named_base(folder) == "./src/loupe/models/miniature"
    shutil.copytree(folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    again = load_policy("moved")
    assert same(policy, again)
    save_policy(again, tmp_path / "further")
    assert named_base(tmp_path / "further") == "./src/loupe/models/miniature"


def test_a_base_elsewhere_is_named_by_its_absolute_path_and_can_be_renamed(tmp_path, monkeypatch):
    shutil.copytree(package_path("models/miniature"), tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    policy, folder = save_adapter("base", tmp_path / "model")
    assert named_base(folder) == str(tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "other")
    with pytest.raises(
        UserError, match=r"^model\.path=\S*/model: cannot load the base of this adapter, \S*/base; set base_model"
    ):
        load_policy(str(folder))
    named_base(folder, str(tmp_path / "other"))
    assert same(policy, load_policy(str(folder)))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Put a folder into the cache of the hub's client."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def publish(folder, name):
        cache = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, cache / "snapshots" / "a1")
        (cache / "refs").mkdir()
        (cache / "refs" / "main").write_text("a1")
        if not (folder / "config.json").exists():  # the client records missing files
            (cache / ".no_exist" / "a1").mkdir(parents=True)
            (cache / ".no_exist" / "a1" / "config.json").touch()

    return publish


def test_a_base_and_an_adapter_from_the_hub(published, tmp_path):
    published(Path(package_path("models/miniature")), "owner/base")
    policy, folder = save_adapter("owner/base", tmp_path / "model")
    assert named_base(folder) == "owner/base"
    published(folder, "owner/adapter")
    again = load_policy("owner/adapter")
    assert again.has_adapter and same(policy, again)


def test_an_adapter_on_built_weights_needs_them_built(tmp_path):
    save_policy(load_policy(None, build, LORA), tmp_path)
    assert named_base(tmp_path) is None
    with pytest.raises(UserError, match="an adapter on random weights; choose the model"):
        load_policy(str(tmp_path))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("size", [0, 100], ids=["empty", "cut"])
def test_a_broken_adapter_is_named_in_one_line(adapter, tmp_path, file, size):
    folder = shutil.copytree(adapter[1], tmp_path / "model")
    (folder / file).write_bytes((folder / file).read_bytes()[:size])
    with pytest.raises(UserError, match=r"^model\.path=[^\n]*cannot be loaded[^\n]*$"):
        load_policy(str(folder))


def test_an_adapter_without_weights_is_named(adapter, tmp_path):
    folder = shutil.copytree(adapter[1], tmp_path / "model")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"^model\.path=[^\n]*$"):
        load_policy(str(folder))


def test_generation_settings_are_preserved(saved, tmp_path):
    policy = load_policy(str(saved[1]))
    policy.model.generation_config.repetition_penalty = 1.05
    save_policy(policy, tmp_path)
    assert load_policy(str(tmp_path)).model.generation_config.repetition_penalty == 1.05


def test_dtype_is_that_of_the_weights_and_leaves_the_rotary_frequencies_exact():
    exact, policy = load_policy(None, build), load_policy(None, build, LORA, dtype="bfloat16")
    assert {p.dtype for p in policy.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}
    ours, expected = policy.backbone.model.language_model.rotary_emb, exact.backbone.model.language_model.rotary_emb
    assert torch.equal(ours.inv_freq, expected.inv_freq)
    groups = scripted(policy, MIXED[:3], max_new_tokens=60)
    assert all(value <= 0 for value in logprobs(policy, groups)[0])


@pytest.mark.parametrize("kind", ["saved", "adapter"])
def test_auto_processor_reads_a_saved_folder(kind, request):
    """Without torchvision, AutoProcessor fails only because of that."""
    from transformers import AutoProcessor

    _, folder = request.getfixturevalue(kind)
    assert json.loads((folder / "tokenizer_config.json").read_text())["processor_class"] == "Qwen2_5_VLProcessor"
    assert json.loads((folder / "preprocessor_config.json").read_text())["image_processor_type"].startswith("Qwen2VL")
    if importlib.util.find_spec("torchvision"):
        assert type(AutoProcessor.from_pretrained(folder)).__name__ == "Qwen2_5_VLProcessor"
    else:
        with pytest.raises(ImportError, match="VideoProcessor requires the Torchvision"):
            AutoProcessor.from_pretrained(folder)


def test_a_saved_folder_loads_in_plain_transformers(saved):
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    policy, folder = saved
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    expected = policy.backbone.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert AutoTokenizer.from_pretrained(folder)("<tool>").input_ids == policy.tokenizer("<tool>").input_ids


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["tokenizer.json"], "no tokenizer there .*copy it from the base model"),
        (["preprocessor_config.json"], "no image processor there"),
        (["config.json"], r"no config\.json there"),
    ],
)
def test_an_incomplete_folder_is_named(saved, tmp_path, missing, message):
    _, folder = saved
    for file in folder.iterdir():
        if file.name not in missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=message):
        load_policy(str(tmp_path))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"])
def test_a_broken_file_is_named_in_one_line(saved, tmp_path, file):
    _, folder = saved
    for path in folder.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[: len(content) // 2] if path.name == file else content)
    with pytest.raises(UserError, match=r"model\.path=[^\n]*: cannot be loaded \([^\n]*$"):
        load_policy(str(tmp_path))
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=r"model\.path=[^\n]*: (cannot be loaded \(|no )[^\n]*$"):
        load_policy(str(tmp_path))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_not_run(saved, tmp_path, monkeypatch, file):
    """Nor does transformers ask for permission, which would block a job."""
    shutil.copytree(saved[1], tmp_path / "model")
    settings = json.loads((tmp_path / "model" / file).read_text())
    settings |= {"model_type": "own", "tokenizer_class": "Own"}
    settings["auto_map"] = {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]}
    (tmp_path / "model" / file).write_text(json.dumps(settings))
    (tmp_path / "model" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("transformers asks"))
    with contextlib.suppress(UserError):
        load_policy(str(tmp_path / "model"))
    assert not (tmp_path / "ran").exists()


def test_an_unknown_name(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"model\.path=nobody/nothing: neither a local folder nor available"):
        load_policy("nobody/nothing")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "/nowhere"}, r"model\.path=/nowhere: no such folder"),
        ({"dtype": "float12"}, r"model\.dtype=float12"),
        ({"path": None, "build": None}, r"model\.path is empty"),
        ({"lora": {"rank": 4}}, r"model\.lora\.rank: unknown; must be one of alpha, dropout, r, target"),
        ({"lora": 8}, r"model\.lora=8: must be null or \{r, alpha, target\}"),
        *(
            ({"lora": {"alpha": value}}, rf"model\.lora\.alpha={value}: must be a number above 0 to 1000000")
            for value in (0, -1, math.nan, math.inf, 10**7, "much", None)
        ),
        ({"lora": {"r": 100000}}, r"model\.lora\.r=100000: must be 128, the width of the model, or less"),
        ({"lora": {"target": "("}}, r"model\.lora=.*: missing \), unterminated subpattern"),
        ({"path": 5}, r"model\.path=5: must be text; put quotes around"),
        ({"lora": {"dropout": 0.1}}, r"model\.lora\.dropout=0\.1: must be 0"),
        ({"dtype": "bfloat16"}, r"model\.dtype=bfloat16 model\.four_bit=false: only frozen weights"),
        ({"attention": "flash_attention_2"}, r"model\.attention=flash_attention_2: cannot mask"),
        ({"attention": "fast"}, r"model\.attention=fast: must be one of sdpa, eager"),
        ({"four_bit": True}, r"model\.four_bit=true: needs a GPU and the package bitsandbytes"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        load_policy(**{"path": None, "build": build} | settings)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_a_frozen_vision_tower(lora):
    frozen, trained = (load_policy(None, build, lora, train_vision=train_vision) for train_vision in (False, True))
    names = [{name for name, p in policy.named_parameters() if p.requires_grad} for policy in (frozen, trained)]
    assert names[0] < names[1]
    assert names[1] - names[0] == {name for name in names[1] if ".visual." in name}


def test_the_dropout_of_a_loaded_adapter_is_off(adapter, tmp_path, caplog):
    folder = shutil.copytree(adapter[1], tmp_path / "model")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_dropout": 0.5}))
    again = load_policy(str(folder)).train()
    assert not any(module.p for module in again.modules() if isinstance(module, torch.nn.Dropout))
    assert "the adapter's lora_dropout=0.5 is set to 0: with dropout, the update would score" in caplog.text
    save_policy(again, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["lora_dropout"] == 0


def test_a_loaded_adapter_keeps_its_own_rank_and_says_so(adapter, caplog):
    load_policy(str(adapter[1]), lora=LORA)
    assert not caplog.text
    load_policy(str(adapter[1]), lora=LORA | {"r": 7})
    assert f"the adapter in model.path keeps its own r={LORA['r']}" in caplog.text


def test_built_weights_attend_as_they_are_told_and_are_not_in_4_bits(monkeypatch):
    assert load_policy(None, build, attention="eager").backbone.config._attn_implementation == "eager"
    monkeypatch.setattr(load, "_nf4", lambda dtype: "4 bits")
    with pytest.raises(UserError, match=r"model\.four_bit=true: only weights from files can be in 4 bits"):
        load_policy(None, build, LORA, four_bit=True)


def test_of_the_folder_of_a_run_the_model_in_it_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match=rf"no config\.json there; give model\.path={tmp_path}/model$"):
        load_policy(str(tmp_path))
