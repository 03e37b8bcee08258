"""Vectors of the processor that Numba compiles for, and how kernels are emitted for them.

A loop that a compiler vectorises keeps its sums where it likes. The kernels of registers.md say
themselves what lies in which register, in LLVM's words; `emitted` makes them callable from a `jit`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target

from .jit_numba import intrinsic

INT, LONG = ir.IntType(32), ir.IntType(64)


class Processor(NamedTuple):
    """What the tiles are cut for: bytes of a vector, whether a multiply-add is one instruction,
    and how many vectors there is room for."""

    bytes: int
    fma: bool
    registers: int


def processor(triple: str, cpu: str, features: str) -> Processor:
    """Ask the compiler itself, by what it makes of sixteen multiply-adds; all as LLVM calls
    them."""
    numbers = "<16 x float>"
    ask = binding.parse_assembly(
        f"declare {numbers} @llvm.fma.v16f32({numbers}, {numbers}, {numbers})\n"
        f"define {numbers} @ask({numbers} %a, {numbers} %b, {numbers} %c) {{\n"
        f"%r = call {numbers} @llvm.fma.v16f32({numbers} %a, {numbers} %b, {numbers} %c)\n"
        f"ret {numbers} %r }}"
    )
    machine = binding.Target.from_triple(triple).create_target_machine(cpu, features, 2)
    answer = machine.emit_assembly(ask)
    wide = 64 if "zmm" in answer else 32 if "ymm" in answer else 16
    fma = "vfmadd" in answer or "fmla" in answer
    return Processor(wide, fma, 32 if wide == 64 or not triple.startswith(("x86", "i686")) else 16)


HERE = processor(*cpu_target.target_context.codegen().magic_tuple())


class Emitter:
    """An IR builder that speaks of vectors of one type and of addresses."""

    def __init__(self, builder: Any, element: Any, machine: Processor = HERE) -> None:
        self.b, self.element, self.machine = builder, element, machine
        self.size = 4 if isinstance(element, ir.FloatType) else 8
        self.lanes = machine.bytes // self.size
        self.vector = ir.VectorType(element, self.lanes)
        self.zero = ir.Constant(self.vector, None)
        self.suffix = f"v{self.lanes}f{8 * self.size}"

    def number(self, n: int) -> Any:
        return ir.Constant(LONG, n)

    def pointer(self, address: Any, offset: Any = None, kind: Any = None) -> Any:
        """An address in bytes, and so many elements (or `kind`) behind it."""
        start = self.b.inttoptr(address, (kind or self.element).as_pointer())
        return start if offset is None else self.b.gep(start, [offset])

    def integer(self, address: Any, index: int) -> Any:
        """A whole number out of a table."""
        return self.b.load(self.pointer(address, self.number(index), LONG))

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), arguments)

    def at(self, pointer: Any, v: int) -> Any:
        """The v-th vector behind a pointer to elements."""
        place = self.b.gep(pointer, [self.number(v * self.lanes)])
        return self.b.bitcast(place, self.vector.as_pointer())

    def load(self, pointer: Any, v: int, mask: Any = None) -> Any:
        place = self.at(pointer, v)
        if mask is None:
            return self.b.load(place, align=self.size)
        return self.call(f"llvm.masked.load.{self.suffix}.p0", self.vector, place,
                         INT(self.size), mask, self.zero)  # fmt: skip

    def store(self, pointer: Any, v: int, value: Any, mask: Any = None) -> None:
        place = self.at(pointer, v)
        if mask is None:
            self.b.store(value, place, align=self.size)
        else:
            self.call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), value, place,
                      INT(self.size), mask)  # fmt: skip

    def first(self, count: Any) -> Any:
        """The mask of a vector's first lanes."""
        number = INT if self.size == 4 else LONG  # as wide as a lane: no mask is packed anew
        kind = ir.VectorType(number, self.lanes)
        numbers = ir.Constant(kind, [*range(self.lanes)])
        count = self.b.trunc(count, INT) if self.size == 4 else count
        return self.b.icmp_signed("<", numbers, self.everywhere(count, kind))

    def everywhere(self, value: Any, kind: Any = None) -> Any:
        """A vector of one value."""
        kind = kind or self.vector
        nothing = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(nothing, value, INT(0))
        lanes = ir.Constant(ir.VectorType(INT, kind.count), [0] * kind.count)
        return self.b.shuffle_vector(one, nothing, lanes)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once where the processor can."""
        if self.machine.fma:
            return self.call(f"llvm.fma.{self.suffix}", self.vector, a, b, c)
        return self.b.fadd(self.b.fmul(a, b), c)

    @contextmanager
    def steps(self, count: Any) -> Iterator[Any]:
        """A loop that LLVM does not unroll: of several steps at once it may load all numbers
        first, and keeps sums on the stack to make room for them."""
        with cgutils.for_range(self.b, count) as step:
            yield step
            body = self.b.basic_block
        module = self.b.module
        rolled = module.add_metadata(["llvm.loop.unroll.disable"])
        loop = ir.MDValue(module, (), str(len(module.metadata)))
        loop.operands = loop, rolled  # its own name comes first, as in every loop's
        body.terminator.set_metadata("llvm.loop", loop)

    def cells(self, count: int) -> list[Any]:
        """Places for so many vectors, which become registers."""
        return [cgutils.alloca_once(self.b, self.vector) for _ in range(count)]


def emitted(count: int, write: Callable[..., None]) -> Any:
    """What `write(emitter, *arguments)` writes, callable as `function(number, arguments)`: a number
    of the element's type, and a tuple of `count` int64, addresses among them."""

    @intrinsic
    def call(context, number, arguments):
        def codegen(context, builder, signature, args):
            element = context.get_value_type(signature.args[0])
            write(Emitter(builder, element), *cgutils.unpack_tuple(builder, args[1], count))
            return context.get_dummy_value()

        return types.void(number, types.UniTuple(types.int64, count)), codegen

    return call
