"""Mistakes made on purpose in kernels/*.cu and *.cuh, and how they are found.

    python -m tests.gpu.cuda_on_cpu_suite.mistakes NAME

makes one of OVERRUNS, which the address sanitizer answers by ending the process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from minireptile.kernels import launch_cupy
from minireptile.kernels.operations import MODULES
from tests.gpu.cuda_on_cpu import Divergence
from tests.gpu.cuda_on_cpu_build import Change, Changes
from tests.kernels.contract import close, make

from .host import in_every_order, ladder, large, reference

FOLDER = Path(launch_cupy.__file__).parent
SOURCES = sorted((*FOLDER.glob("*.cuh"), *FOLDER.glob("*.cu")))

# Operations that use all of a header between them.
USERS = {
    "device.cuh": ("squared_error",),
    "product.cuh": ("dense_forward",),
    "reduce.cuh": ("batchnorm_forward", "batchnorm_backward", "squared_error"),
    "sums.cu": ("dense_backward",),
}

# No kernel takes two sums of a block. One that did would need block_sum's first barrier.
TWICE = Change("squared_error.cu", "block_sum(mine)", "block_sum(block_sum(mine) / blockDim.x)")

BARRIERS = [
    Change(path.name, barrier, "", place)
    for path in SOURCES
    for barrier in ("__syncthreads();", "__syncwarp();")
    for place in range(path.read_text(encoding="utf-8").count(barrier))
]

# A barrier that only some threads reach, with the barrier's file.
DIVERGENCES = {
    "half of a sum's lanes": Change(
        "reduce.cuh",
        "__syncthreads();\n        if (lane < half)",
        "if (lane < half) __syncthreads();",
    ),
    "rows of the matrix only": Change(
        "product.cuh", "__syncthreads();  // the tiles", "if (m < M) __syncthreads();  // the tiles"
    ),
    "one lane of a warp less": Change(
        "product.cuh", "__syncwarp();  // the slices", "if (lane) __syncwarp();  // the slices"
    ),
    "a shuffle of some lanes": Change(
        "reduce.cuh", "mine = warp_sum(mine);", "if (lane > 3) mine = warp_sum(mine);"
    ),
    "two barriers that meet": Change(
        "reduce.cuh",
        "    __syncthreads();\n    return parts",
        "    if (lane % 2) __syncthreads();\n    else\n        __syncthreads();\n    return parts",
    ),
    "an early return": Change(
        "sums.cu", "const real whole", "if (n >= N) return;\n    const real whole"
    ),
}

# An index that is off by one, and the line at which that shows; "" for the line changed.
OVERRUNS = {
    "reads a row too many": (Change("sums.cu", "m < end;", "m <= end;"), ""),
    "writes one element too many": (Change("relu.cu", "e < size;", "e <= size;"), "y[e] = "),
    "writes a row too many": (
        Change("product.cuh", "if (m < M && n < N) y(", "if (m <= M && n < N) y("),
        "y[m * columns",
    ),
    "reads a column of an image too many": (
        Change("maxpool.cu", "q >= g.W) continue;", "q > g.W) continue;"), "here = x[",
    ),
    "a row of shared memory too few": (
        Change("reduce.cuh", "parts[LANES][COLUMNS]", "parts[LANES - 1][COLUMNS]"),
        "parts[lane][n] = mine",
    ),
    "a number of shared memory too few": (
        Change("product.cuh", "as[TILE][TILE + 1]", "as[TILE - 1][TILE + 1]"),
        "as[row][column] = ",
    ),
}  # fmt: skip

# What the contract alone finds, and what it says.
OTHERS = {
    "a rate from another block's shared memory": (
        Change("adam.cu", "threadIdx.x == 0)", "threadIdx.x + blockIdx.x == 0)"),
        "an output was not written, or read before",
    ),
    "an order of blocks": (
        Change("relu.cu", "y[e] = ", "y[e] = e > 255 && isnan(y[e - 256]) ? 0 : "),
        "other numbers in order",
    ),
    "an input as scratch": (
        Change("conv2d.cu", "y[e] = sum;", "((real *)x)[0] = 0, y[e] = sum;"),
        "an input was changed on the device",
    ),
}


def operations(change: Change) -> tuple[str, ...]:
    """Operations that a mistake in a file shows in."""
    return USERS.get(change.file) or MODULES[change.file.partition(".")[0]]


def found(change: Change, dtype: type = np.float32) -> str:
    """What the contract says to a mistake, "" if it sees nothing."""
    for operation in operations(change):
        changes: Changes = (change, TWICE) if operation == "squared_error" else (change,)
        said = contract(operation, changes, dtype)
        if said:
            return said
    return ""


def contract(operation: str, changes: Changes, dtype: type = np.float32) -> str:
    """What is wrong with an operation's versions in large calls, "" if nothing is."""
    try:
        for call in large(operation):
            want = make(reference(operation), call.rounded(dtype), np.float64)
            for kernel in ladder(operation).values():
                close(in_every_order(kernel, call, dtype, changes), want, call, dtype)
    except (AssertionError, Divergence) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def line(change: Change, shows: str) -> int:
    """The number of the first line that holds a text."""
    text = (FOLDER / change.file).read_text(encoding="utf-8")
    return text.count("\n", 0, text.index(shows or change.old)) + 1


if __name__ == "__main__":
    print(found(OVERRUNS[sys.argv[1]][0]) or "nothing was found")
