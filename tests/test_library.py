"""The package as a library: its names, and how it is seen from outside."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.tasks.images import Splits, take_classes

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there_and_listed() -> None:
    assert set(mr.LAZY) <= set(mr.__all__) <= set(dir(mr))
    for name in mr.__all__:
        assert getattr(mr, name).__name__.endswith(name)


def test_a_lazy_name_loads_its_module_when_it_is_first_used() -> None:
    code = f"""if True:
        import sys, minireptile as mr
        before = set(sys.modules)
        assert not {set(mr.LAZY.values())} & before, before
        for name, module in mr.LAZY.items():
            getattr(mr, name)
            assert module in sys.modules
        try:
            mr.no_such_name
        except AttributeError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'minireptile' has no attribute 'no_such_name'\n"


# ------------------------------------------------------------------------- types, from outside

SCRIPT = """
import minireptile as mr
model = mr.omniglot_cnn(backend="auto")
reveal_type(model.summary().operations)
reveal_type([run.iteration for run in mr.maml(model, mr.Sine(), mr.SGD(0.1), mr.Loops(1))])
mr.testing.check_gradients(mr.Tanh(), [[[1.0]]])
mr.adapt(model, 1, 2, 3, mr.SGD(0.1))
mr.Loops(iterations="ten")
mr.no_such_name
"""
SEEN = [
    'note: Revealed type is "int"',
    'note: Revealed type is "list[int]"',
    'error: Argument 2 to "__call__" of "InnerLoop" has incompatible type "int"',
    'error: Argument 3 to "__call__" of "InnerLoop" has incompatible type "int"',
    'error: Argument 4 to "__call__" of "InnerLoop" has incompatible type "int"',
    'error: Argument "iterations" to "Loops" has incompatible type "str"; expected "int"',
    'error: Module has no attribute "no_such_name"',
]


@pytest.mark.long  # without a cache
def test_a_type_checker_sees_the_types_of_an_installed_package(tmp_path: Path) -> None:
    """Without py.typed it would see none."""
    pytest.importorskip("mypy")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "minireptile").symlink_to(ROOT / "minireptile")
    (site / "others.pth").write_text(str(Path(np.__file__).parents[1]))
    (tmp_path / "script.py").write_text(SCRIPT)
    python = tmp_path / "venv" / "bin" / "python"
    command = [sys.executable, "-m", "mypy", "--python-executable", str(python), "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    *lines, _ = done.stdout.replace("builtins.", "").splitlines()
    assert len(lines) == len(SEEN), done.stdout + done.stderr
    for line, wanted in zip(lines, SEEN, strict=True):
        assert wanted in line


# ------------------------------------------------------------------------------- in a line


IMAGES = mr.from_arrays(np.zeros((7, 4, 5), np.uint8), [0, 0, 0, 1, 1, 2, 2])
THETA = np.zeros(82, np.float32)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (IMAGES, "ImageClasses(3 classes of 2 to 3 images, 4 x 5 x 1)"),
        (take_classes(IMAGES, [1]), "ImageClasses(1 class of 2 images, 4 x 5 x 1)"),
        (mr.FewShot(IMAGES, 2), f"FewShot({IMAGES!r}, way=2)"),
        (Splits(IMAGES, IMAGES), f"Splits(train={IMAGES!r}, test={IMAGES!r}, val=None, note='')"),
        (
            mr.FewShot(IMAGES, 3).draw(np.random.default_rng(0), 1, 1),
            "Task(support (3, 4, 5, 1) -> (3,), query (3, 4, 5, 1) -> (3,))",
        ),
        (mr.Sine(), "Sine()"),
        (mr.Loops(9), "Loops(iterations=9)"),
        (
            mr.Loops(9, inner_steps=3, outer=mr.SGD(0.5)),
            "Loops(iterations=9, inner_steps=3, "
            "outer=SGD(lr=0.5, momentum=0.0, weight_decay_rate=1.0))",
        ),
        (mr.Protocol(100, 1, marks=(0, 5)), "Protocol(tasks=100, shot=1, marks=(0, 5))"),
        (
            mr.Snapshot(1200, THETA, {"v": THETA, "t": THETA}, np.array([[9.0, 9], [0.25, 0.5]])),
            "Snapshot(iteration 1200, theta (82,) float32, loss of the last step 0.375, "
            "state: t, v)",
        ),
        (
            mr.Snapshot(0, THETA, {}, np.empty((0, 0))),
            "Snapshot(iteration 0, theta (82,) float32, no loss, state: none)",
        ),
        (
            mr.Accuracy(0.85, 0.0101, 0.8961, 0.009, 1000, 0),
            "Accuracy(85.0 ± 1.0 % (transductive 89.6 ± 0.9 %), 1,000 tasks)",
        ),
        (
            mr.Accuracy(0.5, None, 1.0, None, 1, 0),
            "Accuracy(50.0 % (transductive 100.0 %), 1 task)",
        ),
        (
            mr.Regression((0, 32), (3.456, 0.01234), (0.31, 0.0012), 200, 0),
            "Regression(mean squared error 3.46 ± 0.31 after 0 steps, "
            "0.0123 ± 0.0012 after 32 steps, 200 tasks)",
        ),
    ],
)
def test_records_show_themselves_in_a_line(record: Any, line: str) -> None:
    assert repr(record) == line


@pytest.mark.parametrize("record", [mr.Loops(5, epsilon=0.1), mr.Protocol(3, 2, query=4)])
def test_a_record_of_numbers_is_shown_as_it_is_written(record: Any) -> None:
    assert eval(f"mr.{record!r}") == record
