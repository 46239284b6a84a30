import pytest

from loupe.tags import Turn, read_turn


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("<think>a</think>\n<answer>3</answer>", Turn(False, None, True)),
        ("<think>a</think>\n<tool>name: zoom</tool>", Turn(True, "name: zoom", False)),
        ("<think>a</think>\n<tool>name: zo", Turn(True, None, False)),
        ("<tool>name: zoom <answer>3</answer>", Turn(True, None, True)),
        ("no tags at all", Turn(False, None, False)),
        ("</tool>", Turn(False, None, False)),
        ("3</answer>", Turn(False, None, False)),
        ("<answer>3", Turn(False, None, False)),
        ("</tool><tool>x", Turn(True, None, False)),
    ],
)
def test_read_turn(text, turn):
    assert read_turn(text) == turn


def test_the_tag_of_function_calls():
    assert read_turn("<tool_call>{}</tool_call>", "tool_call") == Turn(True, "{}", False)
    assert read_turn("<tool_call>{}</tool_call>") == Turn(False, None, False)
