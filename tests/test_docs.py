"""What `help` says of every public name: numpydoc's own validation, and more that it does not ask.

Public are the names in `mr.__all__` and in those of its modules, with their methods and properties.
"""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import minireptile as mr
from tests.engine.doors.computing import COMPUTING
from tests.engine.doors.constructors import CONSTRUCTORS
from tests.engine.doors.kit import KIT

validate = pytest.importorskip("numpydoc.validate").validate

# All other checks of numpydoc are on.
OFF = {
    "GL02": "closing quotes stand on the last line of a docstring that has one line",
    "ES01": "one sentence is often all there is to say",
    "SA01": "a name's neighbours are in its module",
    "EX01": "examples stand where they help; all of them run below",
    "SS05": "takes the plural of a noun for a verb",
}
HERE = {
    "reptile": {"SS06"},  # beside the loop, on one screen with `adapt`
    "adapt": {"SS06"},
    "MissingPackage": {"PR01"},  # takes what ImportError takes
}


def public() -> Iterator[tuple[str, Any]]:
    for module in (mr, mr.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.ismodule(thing):
                continue
            yield name, thing
            for method in filter(lambda m: not m.startswith("_"), dir(thing)):
                owner = inspect.isclass(thing) and documented(thing, method)
                if owner:
                    yield f"{owner.__qualname__}.{method}", vars(owner)[method]


def documented(kind: type, name: str) -> type | None:
    """The class of ours that says what a method or property does: the others inherit it."""
    owners = [k for k in kind.__mro__ if k.__module__.startswith("minireptile") and name in vars(k)]
    if not owners or not isinstance(vars(owners[-1])[name], property | type(documented)):
        return None
    return next((k for k in owners if vars(k)[name].__doc__), owners[-1])


PUBLIC = dict(public())
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}


def path(thing: Any) -> str:
    """As numpydoc finds it: `minireptile.reptile` is a module too."""
    function: Any = thing.fget if isinstance(thing, property) else thing
    return f"{function.__module__}.{function.__qualname__}"


@pytest.mark.parametrize("name", PUBLIC)
def test_numpydoc_is_satisfied(name: str) -> None:
    off = {*OFF, *HERE.get(name, ())}
    errors = validate(path(PUBLIC[name]))["errors"]
    assert not [(code, text) for code, text in errors if code not in off]


def sections(thing: Any) -> dict[str, str]:
    parts = re.split(r"^(\w[\w ]*)\n-+\n", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_array_has_a_shape(name: str) -> None:
    """(T, P) and such behind each array that goes in, and that comes out."""
    given, said = inspect.signature(FUNCTIONS[name]), sections(FUNCTIONS[name])
    types = dict(re.findall(r"^(\S+) : (.+)$", said.get("Parameters", ""), re.MULTILINE))
    for parameter in given.parameters.values():
        if "NDArray" in str(parameter.annotation) and "Callable" not in str(parameter.annotation):
            assert SHAPE.search(types[parameter.name]), parameter.name
    out = said.get("Returns", said.get("Yields", ""))
    if "NDArray" in str(given.return_annotation):
        assert SHAPE.search(out), out


SHAPE = re.compile(r"\(.*\)|shape|array of float64|dict of arrays")


@pytest.mark.parametrize("name", sorted({*CONSTRUCTORS, *COMPUTING, *KIT} & {*PUBLIC}))
def test_what_refuses_wrong_arguments_says_so(name: str) -> None:
    assert "InputError" in sections(PUBLIC[name])["Raises"]


def test_the_algorithms_share_one_text() -> None:
    algorithms = [mr.reptile, mr.fomaml, mr.maml, mr.imaml, mr.joint]
    for part in ("Parameters", "Yields", "Raises"):
        assert len({sections(algorithm)[part] for algorithm in algorithms}) == 1
    assert len({sections(algorithm)["Notes"] for algorithm in algorithms}) == 5
    assert "Finn, Abbeel & Levine" in sections(mr.maml)["Notes"]


EXAMPLES = [name for name, thing in PUBLIC.items() if "Examples" in sections(thing)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_say_what_is_so(name: str) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={})
    out: list[str] = []
    assert doctest.DocTestRunner().run(test, out=out.append).failed == 0, "".join(out)
