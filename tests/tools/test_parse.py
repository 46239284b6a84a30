import random

import pytest

from loupe.tools.errors import CallError, Failure
from loupe.tools.parse import Call, parse_call, read_keypoint

ZOOM = {"keypoint": read_keypoint}


def parse(text: str) -> Call | Failure:
    return parse_call(text, "zoom", ZOOM)


@pytest.mark.parametrize(
    ("text", "keypoint"),
    [
        ("\nname: zoom\nkeypoint: [1015, 710]\n", [1015, 710]),
        ("name: zoom\nkeypoint: [0,7]", [0, 7]),
        ("keypoint:\n- 30\n- -5\nname: 'zoom'", [30, -5]),
        ('{"name": "zoom", "keypoint": [12, 34]}', [12, 34]),
        ("name: zoom  # look here\nkeypoint: [999999999, 1]", [999999999, 1]),
    ],
)
def test_well_formed_calls(text, keypoint):
    assert parse(text) == Call("zoom", {"keypoint": keypoint})


def keypoint(value: str) -> str:
    return f"name: zoom\nkeypoint: {value}"


MALFORMED = [
    ("x" * 201, "too_long"),
    ("name: zoom keypoint: [1, 2]", "not_yaml"),
    (keypoint("[1, 2"), "not_yaml"),
    (keypoint("[1, 2]]"), "not_yaml"),
    ("name: zoom\n\tkeypoint: [1, 2]", "not_yaml"),
    (keypoint("&a [1, 2]"), "not_yaml"),
    ("name: zoom\nkeypoint: [&a 1, *a]", "not_yaml"),
    (keypoint("*missing"), "not_yaml"),
    (keypoint("[!!int 010, 2]"), "not_yaml"),
    (keypoint("!!timestamp 2020-99-99"), "not_yaml"),
    (keypoint("!!python/object/apply:os.getcwd []"), "not_yaml"),
    (keypoint("! [1, 2]"), "not_yaml"),
    (keypoint("[1, 2]\nkeypoint: [3, 4]"), "not_yaml"),
    ("name: zoom\nname: zoom\nkeypoint: [1, 2]", "not_yaml"),
    (keypoint("{a: 1, a: 2}"), "not_yaml"),
    ("? [a]\n: 1", "not_yaml"),
    (keypoint('"\\UFFFFFFFF"'), "not_yaml"),
    (keypoint('"\\U7FFFFFFF"'), "not_yaml"),
    (keypoint("[\x00, 1]"), "not_yaml"),
    (keypoint("[\ud800, 1]"), "not_yaml"),
    ("name: zoom\n---\nname: zoom", "not_yaml"),
    ("[" * 200, "not_yaml"),
    ("%YAML 3.0\n---\nname: zoom", "not_yaml"),
    ("", "not_a_mapping"),
    ("   \n", "not_a_mapping"),
    ("zoom", "not_a_mapping"),
    ("[300, 20]", "not_a_mapping"),
    ("zoom(300, 20)", "not_a_mapping"),
    ("{}", "missing_argument"),
    ("keypoint: [1, 2]", "missing_argument"),
    ("name: zoom", "missing_argument"),
    ("name: zoom\npoint: [1, 2]", "missing_argument"),
    ("name: crop\nkeypoint: [1, 2]", "unknown_tool"),
    ("name: Zoom\nkeypoint: [1, 2]", "unknown_tool"),
    ("name: 1\nkeypoint: [1, 2]", "unknown_tool"),
    ("name: [zoom]\nkeypoint: [1, 2]", "unknown_tool"),
    ("name:\nkeypoint: [1, 2]", "unknown_tool"),
    (keypoint("[1, 2]\nsize: 3"), "unexpected_argument"),
    (keypoint("[1, 2]\n1: 3"), "unexpected_argument"),
    (keypoint("[1, 2]\n<<: {a: 1}"), "unexpected_argument"),
    (keypoint(""), "bad_keypoint"),
    (keypoint("null"), "bad_keypoint"),
    (keypoint("5"), "bad_keypoint"),
    (keypoint("300, 20"), "bad_keypoint"),
    (keypoint("(300, 20)"), "bad_keypoint"),
    (keypoint("{x: 1, y: 2}"), "bad_keypoint"),
    (keypoint("[]"), "bad_keypoint"),
    (keypoint("[1]"), "bad_keypoint"),
    (keypoint("[1, 2, 3]"), "bad_keypoint"),
    (keypoint("[[1, 2]]"), "bad_keypoint"),
    (keypoint("[1, [2]]"), "bad_keypoint"),
    (keypoint("[1.0, 2]"), "bad_keypoint"),
    (keypoint("[1e3, 2]"), "bad_keypoint"),
    (keypoint("[.nan, 2]"), "bad_keypoint"),
    (keypoint("[.inf, -.inf]"), "bad_keypoint"),
    (keypoint("[true, false]"), "bad_keypoint"),
    (keypoint("[yes, 2]"), "bad_keypoint"),
    (keypoint("['1', \"2\"]"), "bad_keypoint"),
    (keypoint("[010, 2]"), "bad_keypoint"),
    (keypoint("[1:30, 2]"), "bad_keypoint"),
    (keypoint("[0x10, 2]"), "bad_keypoint"),
    (keypoint("[0b1, 2]"), "bad_keypoint"),
    (keypoint("[1_000, 2]"), "bad_keypoint"),
    (keypoint("[+1, 2]"), "bad_keypoint"),
    (keypoint("[2020-01-01, 2]"), "bad_keypoint"),
    (keypoint(f"[{'9' * 150}, 2]"), "bad_keypoint"),
]


@pytest.mark.parametrize(("text", "kind"), MALFORMED)
def test_malformed_calls(text, kind):
    failure = parse(text)
    assert isinstance(failure, Failure)
    assert failure.kind == kind
    assert failure.message.startswith("Error: ") and failure.message.endswith(".")
    assert len(failure.message) < 60  # characters; every token of it takes up context
    assert failure.arguments is None


def test_messages_name_the_problem():
    assert parse("name: zoom").message == "Error: the call has no keypoint."
    assert parse("name: <|image_pad|>").message == "Error: unknown tool; the only tool is zoom."
    assert parse("name: zoom\nkeypoint: [1, 2]\nx: 1").message == "Error: the call must have only name and keypoint."
    assert parse("x" * 201).message == "Error: the call is longer than 200 characters."


def test_deep_nesting_and_endless_digits_fail_even_without_the_length_limit(monkeypatch):
    monkeypatch.setattr("loupe.tools.parse.MAX_CHARACTERS", 10_000)
    deep, digits = parse(keypoint("[" * 2000 + "]" * 2000)), parse(keypoint(f"[{'9' * 9000}, 1]"))
    assert (deep.kind, digits.kind) == (CallError.NOT_YAML, CallError.BAD_KEYPOINT)


def test_other_tools_have_other_arguments():
    call = parse_call("name: look\nat: 3\nfor: 4", "look", {"at": lambda v: v, "for": lambda v: v + 1})
    assert call == Call("look", {"at": 3, "for": 5})


PIECES = [*"[]{}:,-?&*!|>'\"%@`#\n\t 0123", "name: zoom\n", "keypoint: ", "[1, 2]", "!!int ", "&a ", "*a"]
PIECES += ["\\U", "FFFFFFFF", "\\x", "---\n", "...", "%YAML 1.1\n", "<<: ", ".nan", "~", "\x00", "\ud800", "é"]


def test_no_text_makes_the_parser_raise():
    rng = random.Random(0)
    outcomes = set()
    for _ in range(3000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 20)))
        damaged = list("name: zoom\nkeypoint: [12, 34]")
        damaged[rng.randrange(len(damaged))] = rng.choice(PIECES)
        for call in (parse(text), parse("".join(damaged))):
            assert isinstance(call, Call | Failure)
            outcomes.add("call" if isinstance(call, Call) else call.kind.value)
    assert {"call", "not_yaml", "bad_keypoint", "unknown_tool", "missing_argument"} <= outcomes
