"""What is said where an optional package is missing: a line that works, with no index to help."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from minireptile.errors import DISTRIBUTIONS, MissingPackage, pip, require

ROOT = Path(__file__).parents[1]
ASKED = sorted(
    {
        (module.partition(".")[0], extra)
        for path in (ROOT / "minireptile").rglob("*.py")
        for module, extra in re.findall(r'require\("([\w.]+)", "(\w+)"\)', path.read_text())
    }
)


def test_a_missing_package_and_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingPackage) as error:
        require("PIL.Image", "cli")
    assert str(error.value) == (
        "this needs the package 'PIL', which is not installed; bring it with: pip install pillow, "
        'or, in the repository, with all that go with it: pip install -e ".[cli]"'
    )
    assert require("math", "cli").pi > 3
    assert pip("numba", "cupy-cuda13x[ctk]") == 'pip install numba "cupy-cuda13x[ctk]"'


@pytest.mark.parametrize(("package", "extra"), ASKED)
def test_every_package_that_is_asked_for_is_one_of_its_extra(package: str, extra: str) -> None:
    """Under the name that its line has, so that the line and the extra bring the same."""
    setup = (ROOT / "setup.py").read_text()
    listed = re.search(rf"^{extra.upper()} = \[(.*?)\n?\]$", setup, re.M | re.S)
    assert listed
    name = DISTRIBUTIONS.get(package, package)
    if extra.startswith("cuda"):  # one of two, for the driver there is
        name = name.replace("13", extra[-2:])
    assert f'"{name}>=' in listed[1] or package == "requests"  # which pooch brings


def test_there_are_some() -> None:
    assert {("PIL", "cli"), ("scipy", "numba")} <= set(ASKED)
