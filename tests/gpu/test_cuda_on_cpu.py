"""The CUDA kernels on the CPU: the contract under the address sanitizer, and that it is not blind.

The sanitizer has to be loaded before Python, so what it watches over runs in another process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .cuda_on_cpu import Array, Device, Divergence, Engine
from .cuda_on_cpu_build import COMPILER, NEEDED, Change
from .cuda_on_cpu_suite import mistakes
from .cuda_on_cpu_suite.mistakes import BARRIERS, DIVERGENCES, OTHERS, OVERRUNS, TWICE

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(COMPILER is None, reason=f"needs {NEEDED}")


@cache
def sanitizer() -> str:
    """The address sanitizer's library and that of C++, whose exceptions it wants to know."""
    found = []
    for name in ("libasan.so", "libstdc++.so"):
        path = subprocess.check_output([str(COMPILER), f"-print-file-name={name}"], text=True)
        if not Path(path.strip()).is_absolute():  # not there: the bare name comes back
            pytest.skip(f"g++ has no {name}")
        found.append(path.strip())
    return " ".join(found)


def watched(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run Python under the sanitizer; also what that reports."""
    options = (
        "detect_leaks=0",  # Python and NumPy keep memory
        "detect_stack_use_after_return=0",  # a block's threads have stacks of their own
        f"log_path={folder / 'report'}",
    )
    environment = {
        **os.environ,
        "LD_PRELOAD": sanitizer(),
        "ASAN_OPTIONS": ":".join(options),
        "NUMBA_DISABLE_JIT": "1",  # test_contract.py then leaves it alone
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done, "".join(p.read_text(errors="replace") for p in sorted(folder.glob("report.*")))


SUITE = ROOT / "tests" / "gpu" / "cuda_on_cpu_suite"
CONTRACT = ("-m", "pytest", "-vv", "-p", "no:cacheprovider", str(SUITE / "contract.py"))


def test_the_contract() -> None:
    """As fast as it goes, on the calls that are larger than a block or a tile, and in the type that
    GPUs are used for; the next test has the rest."""
    command = [sys.executable, *CONTRACT, "-k", "not numbers_of_the_reference and not float64"]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert " passed" in done.stdout


@pytest.mark.long
def test_the_contract_under_the_address_sanitizer(tmp_path: Path) -> None:
    done, report = watched(tmp_path, *CONTRACT, str(SUITE / "meta.py"))
    assert done.returncode == 0, f"{report}\n{done.stdout[-5000:]}\n{done.stderr}"
    assert not report


# ------------------------------------------------------------------------ mistakes on purpose


def one_of(mistakes: Iterable[Any]) -> list[Any]:
    """The first of a kind; all the others take a minute, and run with what takes longer."""
    first, *others = mistakes
    return [first, *(pytest.param(other, marks=pytest.mark.long) for other in others)]


@pytest.mark.parametrize("name", one_of(OVERRUNS))
def test_an_index_off_by_one_is_found(name: str, tmp_path: Path) -> None:
    change, shows = OVERRUNS[name]
    done, report = watched(tmp_path, "-m", mistakes.__name__, name)
    assert done.returncode, done.stdout
    assert "-buffer-overflow" in report, f"{report}\n{done.stdout}\n{done.stderr}"
    top = next(line for line in report.splitlines() if line.lstrip().startswith("#0"))
    assert f"{change.file}:{mistakes.line(change, shows)}" in top, report


@pytest.mark.parametrize(
    "change", one_of(BARRIERS), ids=lambda c: f"{c.file}-{c.old[2:-3]}-{c.place}"
)
def test_every_barrier_is_needed(change: Change) -> None:
    assert mistakes.found(change), f"{change} was not found"


@pytest.mark.parametrize("name", one_of(DIVERGENCES))
def test_a_barrier_that_some_threads_miss_is_found(name: str) -> None:
    said = mistakes.found(DIVERGENCES[name])
    assert said.startswith("Divergence: "), said
    assert "waits at" in said


@pytest.mark.parametrize("name", OTHERS)
def test_the_contract_says(name: str) -> None:
    change, words = OTHERS[name]
    assert words in mistakes.found(change)


def test_sums_of_a_block_can_be_taken_twice() -> None:
    assert mistakes.contract("squared_error", (TWICE,)) == ""


def test_there_are_barriers_to_remove() -> None:
    assert {"product.cuh", "reduce.cuh"} <= {change.file for change in BARRIERS}
    assert {change.old for change in BARRIERS} == {"__syncthreads();", "__syncwarp();"}


# ------------------------------------------------------------------------- wrong calls of kernels

F4 = np.dtype(np.float32)
SIZES: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 1, 1), (32, 1, 1))


def relu(x: object, size: object = np.int64(8), sizes: tuple = SIZES) -> None:
    y = Device().empty((8,), np.float32)
    grid, block = sizes
    Engine().launch("relu", "relu_forward", F4, grid, block, (y, x, size))


def test_arguments_are_held_to_the_parameters() -> None:
    x: Array = Device().upload(np.ones(8, np.float32))
    relu(x)
    with pytest.raises(AssertionError, match=r"takes \*f4 \*f4 i8, and got \*f4 \*f4 i4"):
        relu(x, np.int32(8))
    with pytest.raises(AssertionError, match=r"and got \*f4 \*f8 i8"):
        relu(Device().upload(np.ones(8)))
    with pytest.raises(AssertionError, match=r"and got \*f4 f4 i8"):
        relu(np.ones(8, np.float32))  # an array of the host
    with pytest.raises(AssertionError, match=r"and got \*f4 \*f4$"):
        Engine().launch("relu", "relu_forward", F4, *SIZES, (x, x))


@pytest.mark.parametrize(
    "sizes", [((1, 1, 1), (2048, 1, 1)), ((1, 70000, 1), (32, 1, 1)), ((0, 1, 1), (32, 1, 1))]
)
def test_sizes_that_no_card_takes(sizes: tuple) -> None:
    with pytest.raises(AssertionError, match="no card takes"):
        relu(Device().upload(np.ones(8, np.float32)), sizes=sizes)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (((1, 2, 1), (32, 1, 1)), "relu_forward: blocks along y all do the same"),
        (((1, 1, 1), (32, 1, 2)), "relu_forward: threads along z all do the same"),
        (((1, 1, 1), (33, 1, 1)), "a part of a warp"),
    ],
)
def test_threads_that_are_there_in_vain(sizes: tuple, said: str) -> None:
    with pytest.raises((Divergence, AssertionError), match=said):
        relu(Device().upload(np.ones(8, np.float32)), sizes=sizes)
