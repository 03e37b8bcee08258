"""Memory by its address, Numba: what the compiled calls pass on, in place of arrays.

A function that takes an array is compiled for its type, with everything that it calls, anew in
each caller; an address is a number, and a function behind one is compiled once.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from .jit_numba import inner, intrinsic

LONG = ir.IntType(64)


@intrinsic
def address_of(context, array):
    """Where an array begins."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, LONG)

    return types.int64(array), codegen


@intrinsic
def size_of(context, number):
    """Bytes of a number."""

    def codegen(context, builder, signature, args):
        return LONG(signature.args[0].bitwidth // 8)

    return types.int64(number), codegen


@intrinsic
def pointer(context, one, address):
    """A pointer to numbers of the type of `one`."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(signature.return_type))

    return types.CPointer(one)(one, types.int64), codegen


@intrinsic
def call(context, function, row, fields, one):
    """Call a stage by its address: void(int64 *row, int64 *fields, type of one)."""

    def codegen(context, builder, signature, args):
        longs = LONG.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [longs, longs, args[3].type])
        stage = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(stage, [*(builder.inttoptr(a, longs) for a in args[1:3]), args[3]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, one), codegen


@intrinsic
def numbers(context, one, address, shape):
    """The array of this shape, a number or a tuple of them, that lies there."""
    ndim = 1 if isinstance(shape, types.Integer) else len(shape)

    def codegen(context, builder, signature, args):
        kind = signature.return_type
        sizes = cgutils.unpack_tuple(builder, args[2], ndim) if ndim > 1 else [args[2]]
        item = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
        strides: list[Any] = [item]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        array = context.make_array(kind)(context, builder)
        data = builder.inttoptr(args[1], array.data.type)
        populate_array(
            array, data, sizes, strides, context.get_constant(types.intp, kind.dtype.bitwidth // 8),
            None,
        )  # fmt: skip
        return array._getvalue()

    sizes = types.int64 if ndim == 1 else types.UniTuple(types.int64, ndim)
    return types.Array(one, ndim, "C")(one, types.int64, sizes), codegen


@inner
def number(address, i):
    """The i-th double there."""
    return pointer(1.0, address)[i]


@intrinsic
def rounded(context, one, value):
    """A double as a number of the type of `one`."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        return builder.fptrunc(args[1], kind) if isinstance(kind, ir.FloatType) else args[1]

    return one(one, types.float64), codegen
