"""What CuPy is asked for: a module of each source and type, and each kernel with its numbers."""

from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minireptile.kernels import launch_cupy
from minireptile.kernels.launch_cupy import CupyEngine, options, source


class Recorder:
    """In the place of CuPy."""

    def __init__(self) -> None:
        self.modules: list[tuple[str, tuple[str, ...]]] = []
        self.launches: list[tuple] = []

    def module(self, code: str, options: tuple[str, ...]) -> Any:
        self.modules.append((code, options))

        def function(kernel: str) -> Any:
            return lambda *arguments: self.launches.append((options, kernel, *arguments))

        return SimpleNamespace(get_function=function)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    cupy = SimpleNamespace(RawModule=found.module, empty=np.empty)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for cached in ("_module", "_function", "_room"):  # with nothing in them yet
        plain = getattr(launch_cupy, cached).__wrapped__
        monkeypatch.setattr(launch_cupy, cached, cache(plain))
    monkeypatch.setattr(launch_cupy, "engine", CupyEngine())
    return found


def test_a_kernel_gets_its_grid_and_its_numbers_in_their_types(recorder: Recorder) -> None:
    y = np.zeros(3, np.float32)
    types: tuple[Any, ...] = np.dtype("float32"), np.dtype("float64")
    for dtype in types:
        grid, block = (3, 1, 2), (128, 1, 1)
        launch_cupy.launch("relu", "relu_forward", dtype, grid, block, y, 5, 0.5, None, np.int64(7))
    for (told, kernel, *launched), dtype in zip(recorder.launches, types, strict=True):
        assert (told, kernel, launched[:2]) == (options(dtype), "relu_forward", [grid, block])
        first, *numbers = launched[2]
        assert first is y
        assert numbers == [5, 0.5, None, 7]
        assert [type(n) for n in numbers] == [np.int32, dtype.type, type(None), np.int64]
    assert recorder.modules == [(source("relu"), options(dtype)) for dtype in types]


def test_a_source_is_compiled_once(recorder: Recorder) -> None:
    dtype = np.dtype("float32")
    for kernel in ("relu_forward", "relu_backward", "relu_forward"):
        launch_cupy.launch("relu", kernel, dtype, (1, 1, 1), (1, 1, 1))
    assert [kernel for _, kernel, *_ in recorder.launches] == [
        "relu_forward", "relu_backward", "relu_forward",
    ]  # fmt: skip
    assert len(recorder.modules) == 1


@pytest.mark.parametrize(("size", "room"), [(1, 1), (5, 8), (8, 8), (9, 16)])
def test_room_is_kept_for_all_of_about_a_size(recorder: Recorder, size: int, room: int) -> None:
    got = launch_cupy.room(size, "float64")
    assert (got.shape, got.dtype) == ((room,), np.float64)
    assert launch_cupy.room(room, "float64") is got
    assert launch_cupy.room(2 * room, "float64") is not got
    assert launch_cupy.room(size, "float32") is not got
