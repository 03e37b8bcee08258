"""How every Numba kernel is compiled, and what Numba lacks.

jit             compiled once and kept on disk; runs without the GIL; no exceptions inside
inner           the same for what is called by other kernels alone
gemm            a matrix product by SciPy's BLAS on raw addresses: any row stride, beta, no copies
multiply_add    a product and a sum with one rounding, everywhere
copy, put       bytes from one address to another; numbers from one vector to another
packed          a row of a parameter, known to be contiguous
part, wanted    of an output that may be None
atomic_add, atomic_load, yield_core    what a barrier between threads is made of

Every operation rounds as written: nothing is reordered, and a product and a sum are not contracted
into one rounding, which a compiler does in one place and not in another. So a result does not
depend on how a loop was vectorised, inlined or cut into pieces, and NaN stays NaN.
"""

import ctypes
import sys
from functools import partial
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import get_cython_function_address
from numba.extending import intrinsic as _intrinsic

intrinsic: Any = _intrinsic
jit: Any = partial(njit, cache=True, nogil=True, error_model="numpy")
# What other kernels alone call needs no machine code of its own, nor a way in from Python, where a
# call would end the process.
inner: Any = partial(
    njit, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)

INT, BYTE, VOID = ir.IntType(32), ir.IntType(8), ir.VoidType()

# Named symbols, so that compiled code can be kept on disk and still finds them in the next process.
for _name in ("sgemm", "dgemm"):
    _address = get_cython_function_address("scipy.linalg.cython_blas", _name)
    binding.add_symbol(f"minireptile_{_name}", _address)
_library, _yield = (
    ("kernel32", "SwitchToThread") if sys.platform == "win32" else (None, "sched_yield")
)
_function = getattr(ctypes.CDLL(_library), _yield)
binding.add_symbol("minireptile_yield", ctypes.cast(_function, ctypes.c_void_p).value)


def _gemm_of(name: str, real: Any) -> Any:
    """An intrinsic that calls Fortran's xGEMM, which takes everything by reference."""

    @intrinsic
    def call(context, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        signature = types.void(*[types.int64] * 5, types.float64, *[types.int64] * 4,
                               types.float64, types.int64, types.int64)  # fmt: skip

        def codegen(context, builder, signature, args):
            def reference(value: Any) -> Any:
                return cgutils.alloca_once_value(builder, value)

            def integer(value: Any) -> Any:
                return reference(builder.trunc(value, INT))

            def number(value: Any) -> Any:
                narrow = isinstance(real, ir.FloatType)
                return reference(builder.fptrunc(value, real) if narrow else value)

            def letter(flag: Any) -> Any:  # "N" or "T"
                transposed = builder.icmp_signed("!=", flag, flag.type(0))
                return reference(builder.select(transposed, BYTE(ord("T")), BYTE(ord("N"))))

            def address(value: Any) -> Any:
                return builder.inttoptr(value, real.as_pointer())

            kinds = (letter, letter, integer, integer, integer, number, address, integer,
                     address, integer, number, address, integer)  # fmt: skip
            values = [kind(arg) for kind, arg in zip(kinds, args, strict=True)]
            kind = ir.FunctionType(VOID, [value.type for value in values])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(function, values)
            return context.get_dummy_value()

        return signature, codegen

    return call


_sgemm = _gemm_of("minireptile_sgemm", ir.FloatType())
_dgemm = _gemm_of("minireptile_dgemm", ir.DoubleType())


@jit
def gemm(itemsize, m, n, k, a, lda, ta, b, ldb, tb, c, ldc, beta):
    """C = op(A) op(B) + beta C, row-major: C (m, n), op(A) (m, k), op(B) (k, n).

    a, b, c are addresses (``array.ctypes.data``), lda, ldb, ldc row strides in elements, ta, tb 1
    where the matrix is transposed. BLAS counts columns first, so it is handed C' = op(B)' op(A)'.
    """
    if itemsize == 4:
        _sgemm(tb, ta, n, m, k, 1.0, b, ldb, a, lda, beta, c, ldc)
    else:
        _dgemm(tb, ta, n, m, k, 1.0, b, ldb, a, lda, beta, c, ldc)


@intrinsic
def multiply_add(context, a, b, c):
    """a b + c rounded once, wherever it stands: one instruction on most processors."""

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, a, a), codegen


@intrinsic
def copy(context, to, start, count):
    """Copy so many bytes between addresses: what the C library does best."""

    def codegen(context, builder, signature, args):
        target, source = (builder.inttoptr(arg, BYTE.as_pointer()) for arg in args[:2])
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def packed(context, array):
    """The same array, typed as contiguous: a row of a parameter is, and Numba cannot know it."""

    def codegen(context, builder, signature, args):
        return impl_ret_borrowed(context, builder, signature.return_type, args[0])

    return array.copy(layout="C")(array), codegen


@inner
def put(to, values):
    """to[:] = values (n,), for which Numba would compile seconds of what is not needed here."""
    for i in range(to.shape[0]):
        to[i] = values[i]


@jit
def part(output, index):
    """output[index], or None where nobody wants the output."""
    return None if output is None else output[index]


def wanted(output, like, dimensions):
    """An output and True, or an array of no numbers and False, so that a kernel is compiled once
    for all outputs that somebody may want."""
    if output is None:
        return np.empty((0,) * dimensions, like.dtype), False
    return output, True


def _pointer(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


@intrinsic
def atomic_add(context, array, value):
    """Add value to array[0] as one indivisible step; what was there before."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0])
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(array, types.int64), codegen


@intrinsic
def atomic_load(context, array):
    """array[0] as the other threads see it."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0])
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(array), codegen


@intrinsic
def yield_core(context):
    """Let another thread run on this core, if one wants to."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(INT, [])
        function = cgutils.get_or_insert_function(builder.module, kind, "minireptile_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@jit
def barrier(arrived, members):
    """Wait until all members have come here. `arrived` (1,) int64 only ever counts up."""
    if members > 1:
        goal = (atomic_add(arrived, 1) // members + 1) * members
        spins = 0
        while atomic_load(arrived) < goal:
            spins += 1
            if spins > 1000:
                yield_core()
