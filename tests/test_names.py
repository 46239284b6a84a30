import sys

import pytest

from loupe import names
from loupe.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tol", ["tool"]), ("maxsteps", ["max_steps"]), ("Max-Steps", ["max_steps"]), ("humour", []), ("", [])],
)
def test_the_nearest_name(name, expected):
    assert names.nearest(name, ["tool", "max_steps", "gate"]) == expected


def test_the_nearest_of_several():
    assert names.nearest("step", ["stop", "steps", "gate"]) == ["steps"]


def test_a_question_with_several_names():
    assert names.did_you_mean(["a", "b.c"]) == "did you mean a or b.c?"
    assert names.did_you_mean([]) == ""


def test_what_a_dotted_name_stands_for():
    assert names.located("key", "loupe.names.located") is names.located
    assert names.located("key", "os.path.join.__name__") == "join"
    assert names.located("key", "xml.dom.minidom.Node.ELEMENT_NODE") == 1  # modules that nothing has imported


@pytest.mark.parametrize("name", ["torch.optim.Adamm", "torch.optim.adam.Adamm"])
def test_what_a_module_or_a_package_lacks(name):
    with pytest.raises(UserError, match=rf"^key={name}: the module torch\.optim.* has no Adamm; did you mean Adam"):
        names.located("key", name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """At the end of sys.path, as a user's folder is."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_that_is_hidden_behind_another_module(folder):
    (folder / "string.py").write_text("def brief(): ...")
    with pytest.raises(UserError, match=rf"string\.py\) has no brief; {folder}/string\.py is hidden behind it: rename"):
        names.located("key", "string.brief")


def test_an_error_in_the_module_itself_keeps_its_traceback(folder):
    (folder / "my_broken.py").write_text("import no_such_thing")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        names.located("key", "my_broken.brief")
