"""Register tiles written for a processor that need not be here: their assembly, or called here.

Numba compiles for the machine at hand. What `Emitter` writes compiles for any that LLVM knows.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba.core.llvm_bindings import create_pass_builder
from numba.core.registry import cpu_target

from minireptile.kernels.registers_numba import product_tile, rows_tile
from minireptile.kernels.vectors_numba import LONG, Emitter, Processor, processor

binding.initialize_all_targets()
binding.initialize_all_asmprinters()


class Target(NamedTuple):
    """A processor as LLVM calls it."""

    triple: str
    cpu: str
    features: str = ""

    @property
    def processor(self) -> Processor:
        return processor(*self)

    def why_not(self) -> str:
        """Why LLVM cannot compile for it here; "" if it can."""
        try:
            binding.Target.from_triple(self.triple)
        except RuntimeError as error:
            return f"this llvmlite does not write for {self.triple}: {error}"
        return ""

    def machine(self) -> Any:
        """Optimised, and placed in memory, as Numba does it."""
        reloc = "static" if self.triple.startswith("x86") else "default"
        target = binding.Target.from_triple(self.triple)
        return target.create_target_machine(self.cpu, self.features, 3, reloc=reloc, jit=True)


class Tile(NamedTuple):
    """A tile of so many pixels (or rows of dw) and vectors of channels; bits of a number."""

    rows: int
    vectors: int
    masked: bool
    bits: int = 32
    of_dw: bool = False

    @property
    def arguments(self) -> int:
        return 8 if self.of_dw else 10

    def optimised(self, target: Target, machine: Processor) -> tuple[Any, Any]:
        """LLVM's module with the function `tile`, and the machine that it is for."""
        write = (product_tile if self.of_dw else rows_tile)(self.rows, self.vectors, self.masked)
        return optimised(write, self.arguments, self.bits, target, machine)

    def assembly(self, target: Target) -> str:
        module, machine = self.optimised(target, target.processor)
        return machine.emit_assembly(module)


def optimised(
    write: Callable[..., None], arguments: int, bits: int, target: Target, machine: Processor
) -> tuple[Any, Any]:
    """LLVM's module with a function `tile` of so many arguments, and the machine it is for."""
    module = ir.Module()
    kind = ir.FunctionType(ir.VoidType(), [LONG] * arguments)
    function = ir.Function(module, kind, "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    element = ir.FloatType() if bits == 32 else ir.DoubleType()
    write(Emitter(builder, element, machine), *function.args)
    builder.ret_void()
    made = target.machine()
    module.triple, module.data_layout = target.triple, str(made.target_data)
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    passes = create_pass_builder(made, opt=3, loop_vectorize=True, slp_vectorize=True)
    passes.getModulePassManager().run(parsed, passes)
    return parsed, made


HERE = Target(*cpu_target.target_context.codegen().magic_tuple())
_engines: list[Any] = []  # the code lives as long as its engine


@cache
def compiled(tile: Tile, processor: Processor) -> Callable[..., None]:
    """The tile with the vectors of `processor`, compiled for the machine at hand."""
    engine = binding.create_mcjit_compiler(*tile.optimised(HERE, processor))
    engine.finalize_object()
    _engines.append(engine)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * tile.arguments)(
        engine.get_function_address("tile")
    )


def innermost(assembly: str) -> list[list[str]]:
    """The lines of every loop without another one in it: from a label to the jump back to it."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels: dict[str, int] = {}
    found: list[tuple[int, int]] = []
    for n, line in enumerate(lines):
        if label := re.match(r"(\.?LBB\w+):", line):
            labels[label[1]] = n
        jump = re.match(r"(?:j\w+|b|b\.\w+|cbn?z|tbn?z)\s.*?(\.?LBB\w+)$", line)
        if jump and jump[1] in labels:
            found.append((labels[jump[1]], n))
    inside = [(a, b) for a, b in found if not any(a <= c and d < b for c, d in found)]
    return [lines[a : b + 1] for a, b in inside]


VECTOR = re.compile(r"[xyz]mm\d+|\b[qvsd]\d+\b")
ON_THE_STACK = re.compile(r"\(%[re]sp[,)]|\[sp\b")
MULTIPLY_ADD = re.compile(r"v?(?:fn?madd|fmla|mulp)")  # where there is none, its product


def spills(loop: list[str]) -> list[str]:
    """Vectors that are kept on the stack."""
    return [line for line in loop if VECTOR.search(line) and ON_THE_STACK.search(line)]


def registers(loop: list[str]) -> int:
    """How many vectors of the processor a loop has to do with."""
    return len({re.sub(r"\D", "", name) for line in loop for name in VECTOR.findall(line)})


def multiply_adds(loop: list[str]) -> list[str]:
    return [line for line in loop if MULTIPLY_ADD.match(line)]
