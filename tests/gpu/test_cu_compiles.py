"""Every CUDA source compiles, for three generations of GPUs, without a GPU.

    python -m tests.gpu.test_cu_compiles

writes what the kernels take (registers, shared memory, spills) into bench/results/registers.md.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minireptile.kernels import launch_cupy

from .nvrtc import COMPILERS, WHY_NOT, Refused, Usage, usages

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path.stem for path in (ROOT / "kernels").glob("*.cu"))
TABLE = ROOT / "bench" / "results" / "registers.md"
ARCHS = ("sm_75", "sm_80", "sm_90")  # Turing, the oldest that CUDA 13 knows; Ampere; Hopper
TYPES = ("float32", "float64")
JOBS = 2

# Kernels that spill in single precision, and why that is right.
KNOWN_SPILLS: dict[str, str] = {}

each_compiler = pytest.mark.parametrize("compiler", COMPILERS)


def compiled(
    compiler: str, name: str, jobs: int = JOBS, archs: tuple[str, ...] = ARCHS
) -> dict[tuple[str, str], list[Usage]]:
    """The kernels of NAME.cu by type and architecture."""
    compile_, _ = COMPILERS[compiler]
    text = launch_cupy.source(name)
    pairs = [(dtype, arch) for dtype in TYPES for arch in archs]
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda p: compile_(text, p[1], launch_cupy.options(p[0])), pairs)
        return dict(zip(pairs, found, strict=True))


def need(compiler: str) -> None:
    if not COMPILERS[compiler][1]():
        pytest.skip(WHY_NOT[compiler])


def spilling(found: dict[tuple[str, str], list[Usage]]) -> list[Usage]:
    """Kernels in single precision whose registers do not suffice, and which are not known to."""
    return [
        usage
        for (dtype, _), kernels in found.items()
        for usage in kernels
        if dtype == "float32" and usage.spills and usage.kernel not in KNOWN_SPILLS
    ]


# What CuPy compiles with is asked always, for the oldest cards, which have the fewest instructions;
# the other compiler and the other cards less often.
@pytest.mark.parametrize(
    ("compiler", "archs"),
    [
        pytest.param("nvrtc", ARCHS[:1], id="nvrtc"),
        pytest.param("nvrtc", ARCHS[1:], id="nvrtc, newer cards", marks=pytest.mark.long),
        pytest.param("nvcc", ARCHS, id="nvcc", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_compiles_and_does_not_spill(
    compiler: str, archs: tuple[str, ...], name: str
) -> None:
    need(compiler)
    found = compiled(compiler, name, archs=archs)
    for (dtype, arch), kernels in found.items():
        assert kernels, f"{name}.cu has no kernel in {dtype} for {arch}"
    assert not spilling(found)


def test_there_are_sources() -> None:
    assert SOURCES


# ------------------------------------------------------------------------ the gate itself can fail


@each_compiler
@pytest.mark.parametrize(
    ("mistake", "words"),
    [("int x = ;", "expected an expression"), ("int x;", 'variable "x" was declared')],
    ids=["error", "warning"],
)
def test_a_mistake_is_refused_by_file_and_line(compiler: str, mistake: str, words: str) -> None:
    need(compiler)
    text = f'#line 1 "mine.cu"\n\nextern "C" __global__ void mine() {{ {mistake} }}\n'
    with pytest.raises(Refused, match=rf"mine.cu\(2\): [^\n]*{words}"):
        COMPILERS[compiler][0](text, "sm_90", ())


@each_compiler
def test_spills_and_shared_memory_are_seen(compiler: str) -> None:
    need(compiler)
    text = """
    extern "C" __global__ void greedy(REAL *y, const REAL *x, int n) {
        __shared__ REAL s[64];
        REAL a[400];
        s[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        for (int i = 0; i < 400; ++i) a[i] = x[i * n];
        for (int j = 0; j < n; ++j)
    #pragma unroll
            for (int i = 0; i < 400; ++i) a[i] = a[i] * a[(i * 7 + 3) % 400] + s[63 - threadIdx.x];
        for (int i = 0; i < 400; ++i) y[i] = a[i];
    }
    """
    (greedy,) = COMPILERS[compiler][0](text, "sm_90", launch_cupy.options("float32"))
    assert greedy.kernel == "greedy"
    assert greedy.arch == "sm_90"
    assert greedy.shared == 4 * 64
    assert greedy.registers > 128
    assert greedy.spills > 0
    assert spilling({("float32", "sm_90"): [greedy]}) == [greedy]
    assert not spilling({("float64", "sm_90"): [greedy]})


NVRTC_LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Function properties for one
ptxas         .     1856 bytes stack frame, 976 bytes spill stores, 792 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 1856 bytes cumulative stack size
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Function properties for two
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 512 bytes smem, 372 bytes cmem[0]
"""


def test_what_ptxas_says_is_read() -> None:
    assert usages(NVRTC_LOG) == [
        Usage("one", "sm_90", 255, 0, 1856, 1768),
        Usage("two", "sm_90", 10, 512, 0, 0),
    ]
    with pytest.raises(ValueError, match="two"):
        usages(NVRTC_LOG.replace("Used 10", "Took 10"))


def test_the_table_has_a_line_for_every_kernel_and_type() -> None:
    one, two = usages(NVRTC_LOG)
    found = {("float32", "sm_90"): [two], ("float64", "sm_90"): [one]}
    assert lines("mine", found) == [
        "| mine | one | float64 | 0 | 255 | 1,856 | 1,768 |",
        "| mine | two | float32 | 512 | 10 | 0 | 0 |",
    ]


# --------------------------------------------------------------------------------------- the table


def lines(name: str, found: dict[tuple[str, str], list[Usage]]) -> list[str]:
    """A line for each kernel and type, with its registers on every architecture."""
    rows: dict[tuple[str, str], list[Usage]] = {}
    for (dtype, _), kernels in found.items():
        for usage in kernels:
            rows.setdefault((dtype, usage.kernel), []).append(usage)
    return [
        f"| {name} | {kernel} | {dtype} | {max(u.shared for u in us):,} | "
        f"{' | '.join(str(u.registers) for u in us)} | "
        f"{max(u.stack for u in us):,} | {max(u.spills for u in us):,} |"
        for (dtype, kernel), us in sorted(rows.items(), key=lambda row: (row[0][1], row[0][0]))
    ]


def write() -> None:
    """Compile everything and write the table."""
    compiler = next((c for c, (_, version) in COMPILERS.items() if version()), None)
    if compiler is None:
        raise SystemExit("; ".join(WHY_NOT.values()))
    columns = ["source", "kernel", "type", "shared", *ARCHS, "stack", "spills"]
    table = [
        "# What the CUDA kernels take",
        "",
        "```sh\npython -m tests.gpu.test_cu_compiles\n```",
        "",
        f"By {compiler} {COMPILERS[compiler][1]()}. Registers of a thread on each architecture; "
        "bytes of shared memory of a block;",
        "the largest bytes of stack and of spills, stored and loaded, of a thread.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * 3}{'---:|' * (len(columns) - 3)}",
    ]
    for name in SOURCES:
        table += lines(name, compiled(compiler, name))
    TABLE.write_text("\n".join(table) + "\n", encoding="utf-8")
    print(f"wrote {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    write()
