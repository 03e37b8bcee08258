"""Loops that do nothing but multiply and add, or read and write: what a core can do at best.

A multiply-add takes a few cycles, and a new one can start in every cycle or twice in one. So many
that wait for nothing but themselves, kept in registers, show how fast the core multiplies. Numba
writes no vectors by itself in such a loop: LLVM is given them. A vector wider than the processor's
is cut in pieces, and more sums than it has registers go through memory: no loop is faster than
the core, and the fastest of them is the limit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic
from numpy.typing import DTypeLike

intrinsic: Any = _intrinsic
jit: Any = njit(nogil=True, error_model="numpy")

# Bytes of a vector, and sums side by side: SSE, AVX2, AVX-512, and NEON with its 32 registers.
SHAPES = ((16, 12), (32, 12), (64, 12), (16, 24))


def multiply_adds(dtype: DTypeLike, width: int, sums: int) -> tuple[Callable, int]:
    """A loop of s = a s + b on so many vectors of `width` bytes, and the operations of a turn.

    ``loop(turns, a, b)`` gives the sum of all entries of all s, which start at 1, 2, 3, ...; a turn
    is a multiplication and an addition for every entry.
    """
    size = np.dtype(dtype).itemsize
    number = types.float32 if size == 4 else types.float64
    real = ir.FloatType() if size == 4 else ir.DoubleType()
    lanes = width // size
    vector = ir.VectorType(real, lanes)
    fma = f"llvm.fma.v{lanes}f{8 * size}"

    @intrinsic
    def turns_of(context: Any, turns: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(vector, [vector] * 3)
            function = cgutils.get_or_insert_function(builder.module, kind, fma)
            factor, term = (_everywhere(builder, vector, value) for value in args[1:])
            starts = (ir.Constant(vector, [float(i + 1)] * lanes) for i in range(sums))
            kept = [cgutils.alloca_once_value(builder, start) for start in starts]
            with cgutils.for_range(builder, args[0]):
                for s in kept:
                    builder.store(builder.call(function, [builder.load(s), factor, term]), s)
            total = ir.Constant(real, 0.0)
            for s in kept:  # every entry, or those that nobody wants would not be computed
                for lane in range(lanes):
                    entry = builder.extract_element(builder.load(s), ir.IntType(32)(lane))
                    total = builder.fadd(total, entry)
            return total

        return number(types.int64, number, number), codegen

    @jit
    def loop(turns: int, a: float, b: float) -> float:
        return turns_of(turns, number(a), number(b))

    return loop, 2 * lanes * sums


def _everywhere(builder: Any, vector: Any, value: Any) -> Any:
    """A number in every entry of a vector."""
    filled = vector(ir.Undefined)
    for lane in range(vector.count):
        filled = builder.insert_element(filled, value, ir.IntType(32)(lane))
    return filled


@jit
def update(target: Any, source: Any, repeats: int) -> None:
    """target = target / 2 + source: two numbers read and one written for each, and all of it has
    to be there before the next time."""
    for _ in range(repeats):
        for i in range(len(target)):
            target[i] = target[i] * target.dtype.type(0.5) + source[i]
