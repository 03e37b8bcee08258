"""Wrong arguments, at every door: an `InputError` of one sentence, alike on every backend.

What is thrown, and at what, is in tests/engine/doors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.doors.computing import COMPUTING
from tests.engine.doors.constructors import CONSTRUCTORS
from tests.engine.doors.kit import KIT
from tests.engine.doors.trying import try_all

ROOT = Path(__file__).parents[2]
Outcomes = dict[str, str]


def in_a_child(folder: Path, *names: str) -> Outcomes:
    """What each door let through; in a process of its own, which a wrong address may end."""
    command = [sys.executable, "-m", "tests.engine.doors", str(folder), *names]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (folder / "done").read_text().splitlines() if (folder / "done").exists() else []
    outcomes = {record["name"]: record["failures"] for record in map(json.loads, lines)}
    if run.returncode:
        now = (folder / "now").read_text().strip() if (folder / "now").exists() else "its start"
        died = f"the process died (exit {run.returncode}) at {now}: {run.stderr[-2000:]}"
        outcomes = {name: died for name in names} | outcomes
    return outcomes


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return in_a_child(tmp_path_factory.mktemp("doors"), *COMPUTING)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_wrong_numbers_names_and_data(name: str) -> None:
    failures = try_all(name, CONSTRUCTORS[name], ("numpy",), lambda now: None)
    assert not failures, failures


@pytest.mark.parametrize("name", COMPUTING)
def test_wrong_arrays_states_and_snapshots(name: str, computed: Outcomes) -> None:
    """On numpy and on numba, which must agree."""
    assert not computed[name], computed[name]


@pytest.mark.parametrize("name", KIT)
def test_wrong_arguments_of_the_kit(name: str) -> None:
    failures = try_all(name, KIT[name], ("numpy",), lambda now: None)
    assert not failures, failures


def test_a_crash_shows_with_its_arguments(tmp_path: Path) -> None:
    outcome = in_a_child(tmp_path, "a crash")["a crash"]
    assert outcome.startswith("the process died (exit -11) at a crash on numpy, value = None")
