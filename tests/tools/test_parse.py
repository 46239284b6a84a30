import random

import pytest

from loupe.tools.arguments import KEYPOINT
from loupe.tools.errors import CallError, Failure
from loupe.tools.parse import Call, check_call, read_function, read_json, read_yaml

ZOOM = {"zoom": {"keypoint": KEYPOINT}}


def parse(text: str, read=read_yaml) -> Call | Failure:
    return check_call(read(text), ZOOM)


@pytest.mark.parametrize(
    ("text", "keypoint"),
    [
        ("\nname: zoom\nkeypoint: [1015, 710]\n", [1015, 710]),
        ("name: zoom\nkeypoint: [0,7]", [0, 7]),
        ("keypoint:\n- 30\n- -5\nname: 'zoom'", [30, -5]),
        ('{"name": "zoom", "keypoint": [12, 34]}', [12, 34]),
        ("name: zoom  # look here\nkeypoint: [999999999, 1]", [999999999, 1]),
        ("name:\n  zoom\nkeypoint: [1, 2]", [1, 2]),
        (" name: zoom\nkeypoint: [692, 402]", [692, 402]),  # a blank behind the opening tag
        ("\n    name: zoom\n    keypoint: [1, 2]\n", [1, 2]),
        ("name: zoom\n\tkeypoint: [1, 2]", [1, 2]),
        ("  name: zoom\n      keypoint: [1,\n  2]", [1, 2]),
    ],
)
def test_well_formed_calls(text, keypoint):
    assert parse(text) == Call("zoom", {"keypoint": keypoint})


def keypoint(value: str) -> str:
    return f"name: zoom\nkeypoint: {value}"


MALFORMED = [
    ("name: zoom keypoint: [1, 2]", "not_yaml"),
    (keypoint("[1, 2"), "not_yaml"),
    (keypoint("[1, 2]]"), "not_yaml"),
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


def test_messages_name_the_problem():
    assert parse("name: zoom").message == "Error: the call has no keypoint."
    assert parse("name: <|image_pad|>").message == "Error: unknown tool; the only tool is zoom."
    assert parse("name: zoom\nkeypoint: [1, 2]\nx: 1").message == "Error: the call must have only name and keypoint."
    assert parse("[1]").message == "Error: the call is not a YAML mapping."


def test_deep_nesting_and_endless_digits_fail_even_without_the_length_limit():
    deep, digits = parse(keypoint("[" * 2000 + "]" * 2000)), parse(keypoint(f"[{'9' * 9000}, 1]"))
    assert (deep.kind, digits.kind) == (CallError.NOT_YAML, CallError.BAD_KEYPOINT)


BOX = '{"name": "zoom", "keypoint": %s}'
FUNCTION = '{"name": "zoom", "arguments": %s}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BOX % "[12, -3]", Call("zoom", {"keypoint": [12, -3]})),
        (BOX % "[12, 3.0]", "bad_keypoint"),
        (BOX % "[12, true]", "bad_keypoint"),
        (BOX % "[12, NaN]", "bad_keypoint"),
        (BOX % f"[12, {'9' * 10}]", "bad_keypoint"),
        (BOX % f"[12, {'9' * 9000}]", "not_json"),
        ("[" * 100_000, "not_json"),
        ("", "not_json"),
        ("name: zoom", "not_json"),
        ('{"name": "zoom", "name": "zoom"}', "not_json"),
        ("[1, 2]", "not_a_mapping"),
        ('{"name": ["zoom"], "keypoint": [1, 2]}', "unknown_tool"),
    ],
)
def test_calls_in_json(text, found):
    call = parse(text, read_json)
    assert (call.kind if isinstance(call, Failure) else call) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FUNCTION % '{"keypoint": [1, 2]}', Call("zoom", {"keypoint": [1, 2]})),
        (FUNCTION % "[1, 2]", "bad_argument"),
        (FUNCTION % '{"name": "other", "keypoint": [1, 2]}', "unexpected_argument"),
        ('{"name": "zoom"}', "missing_argument"),
        ('{"arguments": {}}', "missing_argument"),
        ("3", "not_a_mapping"),
    ],
)
def test_function_calls(text, found):
    call = parse(text, read_function)
    assert (call.kind if isinstance(call, Failure) else call) == found


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
