"""What CuPy is asked for: a module of each source and type, and each kernel with its numbers."""

from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minireptile.kernels import adam_cupy, batchnorm_cupy, launch_cupy, maxpool_cupy
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


def grids(recorder: Recorder) -> list[tuple]:
    """The kernels that were queued, each with its grid and its block."""
    return [launched[1:4] for launched in recorder.launches]


def test_every_element_has_a_thread_up_to_a_million_blocks(recorder: Recorder) -> None:
    first = np.zeros((3, 1), np.float32)
    sizes = {0: 1, 1: 1, 256: 1, 257: 2, 10**6: 3907, 2**28: 2**20, 2**28 + 1: 2**20, 10**12: 2**20}
    for per_task in sizes:
        launch_cupy.elements("relu", "relu_forward", first, per_task)
    assert grids(recorder) == [
        ("relu_forward", (blocks, 1, 3), (256, 1, 1)) for blocks in sizes.values()
    ]


def test_an_array_of_any_size_gets_a_million_blocks_at_most(recorder: Recorder) -> None:
    for size in (257, 10**12):
        array = np.broadcast_to(np.float32(0), (size,))
        launch_cupy.flat("relu", "relu_forward", array)
    assert grids(recorder) == [
        ("relu_forward", (blocks, 1, 1), (256, 1, 1)) for blocks in (2, 2**20)
    ]
    assert [launched[4][-1] for launched in recorder.launches] == [257, 10**12]


def test_max_pooling_has_a_thread_for_each_output_and_back_for_each_input(
    recorder: Recorder,
) -> None:
    x, y = np.zeros((2, 5, 14, 14, 8), np.float32), np.zeros((2, 5, 7, 7, 8), np.float32)
    winner, pair, none = np.zeros(y.shape, np.int32), (2, 2), (0, 0)
    maxpool_cupy.maxpool_forward(y, winner, x, pair, pair, none)
    maxpool_cupy.maxpool_forward(None, winner, x, pair, pair, none)
    maxpool_cupy.maxpool_backward(x, y, winner, pair, pair, none)
    maxpool_cupy.maxpool_forward_r(y, x, winner, pair, pair, none)
    outputs, inputs = -(-5 * 7 * 7 * 8 // 256), -(-5 * 14 * 14 * 8 // 256)
    block = (256, 1, 1)
    assert grids(recorder) == [
        ("maxpool_forward", (outputs, 1, 2), block),
        ("maxpool_forward", (outputs, 1, 2), block),
        ("maxpool_backward", (inputs, 1, 2), block),
        ("maxpool_forward_r", (outputs, 1, 2), block),
    ]


def test_a_thread_of_adam_has_four_numbers(recorder: Recorder) -> None:
    phi, t = np.zeros((3, 1025), np.float32), np.zeros(3, np.int64)
    adam_cupy.adam_step(phi, phi, phi, t, phi, 1e-3, 0.9, 0.999, 1e-8)
    adam, count = grids(recorder)
    assert adam == ("adam_step", (2, 1, 3), (256, 1, 1))  # 257 threads of a block's 256
    assert count == ("count_steps", (1, 1, 1), (256, 1, 1))


@pytest.mark.parametrize(("version", "blocks"), [("v1", (1, 2, 2, 3)), ("v2", (4, 5, 8, 9))])
def test_every_channel_of_a_batch_normalisation_has_a_thread(
    recorder: Recorder, version: str, blocks: tuple[int, ...]
) -> None:
    forward = getattr(batchnorm_cupy, f"batchnorm_forward_{version}")
    for C in (32, 33, 64, 65):
        x, rows = np.zeros((2, 3, C), np.float32), np.zeros((2, C), np.float32)
        forward(x, rows, rows, x, rows, rows, 1e-5)
    assert [grid for _, grid, _ in grids(recorder)] == [(n, 1, 2) for n in blocks]
