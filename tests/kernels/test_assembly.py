"""The tiles stay in registers on processors that are not here: the assembly that LLVM writes.

    python -m tests.kernels.test_assembly

writes what the innermost loops take into bench/results/tiles.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minireptile.backend import why_not

if why_not("numba"):
    pytest.skip(why_not("numba"), allow_module_level=True)

from minireptile.kernels import winograd_numba
from minireptile.kernels.registers_numba import PANEL, sizes
from minireptile.kernels.vectors_numba import Processor

from .emitted import Target, Tile, innermost, multiply_adds, optimised, registers, spills

TABLE = Path(__file__).parents[2] / "bench" / "results" / "tiles.md"
X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# What is known of them: bytes of a vector, whether there is a multiply-add, vectors.
KNOWN = {
    Target(X86, "nehalem"): Processor(16, False, 16),
    Target(X86, "sandybridge"): Processor(32, False, 16),
    Target(X86, "haswell"): Processor(32, True, 16),
    Target(X86, "znver3"): Processor(32, True, 16),
    Target(X86, "skylake-avx512"): Processor(64, True, 32),
    Target(X86, "znver4"): Processor(64, True, 32),
    Target(ARM, "cortex-a76"): Processor(16, True, 32),
    Target("arm64-apple-macosx", "apple-m1"): Processor(16, True, 32),
}
VECTORS = {16: r"%xmm|\.[24][sd]\b", 32: "%ymm", 64: "%zmm"}  # as assembly calls them

each_target = pytest.mark.parametrize("target", KNOWN, ids=lambda target: target.cpu)


def need(target: Target) -> None:
    if reason := target.why_not():
        pytest.skip(reason)


def tiles(machine: Processor) -> list[Tile]:
    """All that are emitted for a processor."""
    height, rows = sizes(machine)
    shapes = [(height, False), (rows, True)]
    return [
        Tile(n, vectors, vectors == 1, bits, of_dw)
        for n, of_dw in shapes
        for vectors in (PANEL, 1)
        for bits in (32, 64)
    ]


def loops(target: Target, tile: Tile) -> list[list[str]]:
    """The innermost loops that compute; LLVM may write several steps at once."""
    return [loop for loop in innermost(tile.assembly(target)) if multiply_adds(loop)]


@each_target
def test_a_processor_is_asked_what_it_has(target: Target) -> None:
    need(target)
    assert target.processor == KNOWN[target]


def test_a_processor_is_asked_what_it_may_use() -> None:
    assert Target(X86, "haswell", "-avx").processor == Processor(16, False, 16)
    assert Target(X86, "nehalem", "+avx2,+fma").processor == Processor(32, True, 16)


@each_target
def test_sums_stay_in_registers(target: Target) -> None:
    need(target)
    machine = KNOWN[target]
    for tile in tiles(machine):
        found = loops(target, tile)
        assert found, tile
        for loop in found:
            products = multiply_adds(loop)
            assert not spills(loop), (tile, spills(loop))
            assert len(products) in {n * tile.rows * tile.vectors for n in (1, 2, 4)}, tile
            assert all(re.search(VECTORS[machine.bytes], line) for line in products), tile
            assert all(("fm" in line.split()[0]) == machine.fma for line in products), tile


@each_target
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("of_dw", [False, True], ids=["rows", "dw"])
def test_winograds_sums_stay_in_registers(target: Target, of_dw: bool, bits: int) -> None:
    """Of any number of channels: a's numbers follow one another, or those of dw its rows."""
    need(target)
    machine = KNOWN[target]
    height = winograd_numba.heights(machine)[of_dw]
    for vectors, masked in ((winograd_numba.PANEL, False), (1, True)):
        write = winograd_numba.product_tile(height, vectors, masked)

        def tile(
            e: Any, c: Any, a: Any, stride: Any, b: Any, N: Any, K: Any, valid: Any,
            write: Callable[..., None] = write,
        ) -> None:  # fmt: skip
            one, none = e.number(1), e.number(0)
            strides = (one, stride) if of_dw else (stride, one)
            write(e, c, a, *strides, b, N, K, none, valid)

        module, made = optimised(tile, 7, bits, target, machine)
        (loop,) = [each for each in innermost(made.emit_assembly(module)) if multiply_adds(each)]
        assert not spills(loop), spills(loop)
        assert len(multiply_adds(loop)) == height * vectors  # one step: it is not unrolled


# ------------------------------------------------------------------------ the gate itself can fail


@pytest.mark.parametrize(("cpu", "height"), [("nehalem", 8), ("haswell", 7), ("znver4", 15)])
def test_a_tile_that_is_too_high_spills(cpu: str, height: int) -> None:
    assert any(spills(loop) for loop in loops(Target(X86, cpu), Tile(height, PANEL, False)))


def test_a_tile_that_is_too_high_spills_on_arm() -> None:
    target = Target(ARM, "cortex-a76")
    need(target)
    assert any(spills(loop) for loop in loops(target, Tile(16, PANEL, False)))


# --------------------------------------------------------------------------------------- the table


def line(target: Target, tile: Tile) -> str:
    loop = max(loops(target, tile), key=len)
    products = len(multiply_adds(loop))
    steps = products // (tile.rows * tile.vectors)
    name = f"{'dw' if tile.of_dw else 'y, dx'}, {'the rest' if tile.masked else 'a panel'}"
    return (
        f"| {target.cpu} | {8 * target.processor.bytes} | {name} | {tile.rows} x {tile.vectors} | "
        f"float{tile.bits} | {registers(loop)} of {target.processor.registers} | "
        f"{(len(loop) - 1) / steps:g} | {products // steps} | {len(spills(loop))} |"
    )


def test_the_table_has_a_line_for_every_tile() -> None:
    assert line(Target(X86, "haswell"), Tile(5, 2, False)) == (
        "| haswell | 256 | y, dx, a panel | 5 x 2 | float32 | 13 of 16 | 19 | 10 | 0 |"
    )


def write() -> None:
    """Compile everything and write the table."""
    columns = ["processor", "bits", "tile", "sums", "type", "registers"]
    numbers = ["instructions", "multiply-adds", "spills"]
    table = [
        "# What the register tiles take",
        "",
        "```sh\npython -m tests.kernels.test_assembly\n```",
        "",
        "The innermost loop of each tile as LLVM writes it for a processor: registers of vectors",
        "that it uses; instructions and multiply-adds (products, where there are none) of a k, or",
        "of a pixel for dw; how often a vector is kept on the stack.",
        "",
        f"| {' | '.join(columns + numbers)} |",
        f"|{'---|' * len(columns)}{'---:|' * len(numbers)}",
    ]
    usable = [target for target in KNOWN if not target.why_not()]
    table += [line(target, tile) for target in usable for tile in tiles(KNOWN[target])]
    TABLE.write_text("\n".join(table) + "\n", encoding="utf-8")
    print(f"wrote {TABLE.name}")


if __name__ == "__main__":
    write()
