"""The mistakes that a run of kernels.py makes, each in a source of one line; samples of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import kernels as runner
from .kernels import ROOT, backend_of, drawn
from .mistakes import mistakes
from .parts import Part
from .run import copy_sources, function_of, sample, without_guards


def changed(name: str, source: str) -> set[str]:
    return {mistake.made(source) for mistake in mistakes(name, source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("y = a - b * c", {"y = a + b * c", "y = a - b / c"}),
        ("ok = 0 <= r < H", {"ok = 1 <= r < H", "ok = 0 < r < H", "ok = 0 <= r <= H"}),
        ("y = x[i, j]", {"y = x[i + 1, j]", "y = x[i, j + 1]", "y = x[j, i]"}),
        ("n = max(a, b) or c is None", {"n = min(a, b) or c is None", "n = max(a, b) and c is None",
                                        "n = max(a, b) or c is not None"}),
        ("cuda.syncthreads()", {"pass"}),
        ("n += m", {"pass", "n -= m", "n = m"}),
        ("n |= m >> k", {"pass", "n &= m >> k", "n = m >> k", "n |= m << k"}),
        ("y[i] = a", {"pass", "y[i + 1] = a"}),
        ("flat = a.reshape(-1)", {"flat = a.reshape(1)"}),
        ("z = zip(x, strict=True)", set()),
        ("add = True  # β - 1", {"add = False  # β - 1"}),
    ],
)  # fmt: skip
def test_in_python(source: str, expected: set[str]) -> None:
    assert changed("a.py", f"β = x  # β\n{source}") == {f"β = x  # β\n{text}" for text in expected}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("    y = a - b;", {";", "    y = a + b;"}),
        ("    __syncthreads();  // 1 - 2", {"      // 1 - 2"}),
        ("    if (n >= N) return;", {";", "    if (n > N) return;"}),
        ("    real s = p[i][j];", {"    real s = p[j][i];", "    real s = p[i + 1][j];"}),
        ("    const int k = threadIdx.x;", {"    const int k = threadIdx.y;"}),
        ("    const int k = max(n, 1);", {"    const int k = min(n, 1);",
                                          "    const int k = max(n, 2);"}),
        ("#pragma unroll 4", set()),
        ("__shared__ real tile[TILE];", set()),
    ],
)  # fmt: skip
def test_in_cuda(source: str, expected: set[str]) -> None:
    assert changed("a.cu", source) == expected


def test_what_is_compiled_for_a_gpu_alone_is_left_alone() -> None:
    source = "#if !defined(CUDA_ON_CPU)\n#if A\na = b - c;\n#endif\n    a = b - c;\n#endif\n"
    assert not changed("a.cu", source)
    assert changed("a.cu", source + "    a = b - c;")


@pytest.mark.parametrize("backend", ["numba", "cuda", "numba-cuda"])
def test_every_kernel_can_be_spoilt(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "sanitizer", dict)
    files = {p for name in backend_of(backend).files for p in (ROOT / "kernels").glob(name)}
    assert len(files) > 10
    assert all(mistakes(path.name, path.read_text(encoding="utf-8")) for path in files)


def test_a_sample_is_the_same_twice_and_takes_from_every_file() -> None:
    text = (ROOT / "kernels" / "sgd_numba.py").read_text(encoding="utf-8")
    found = {name: mistakes(name, text) for name in ("one.py", "two.py")}
    sample = drawn(found, 10, seed=3)
    assert sample == drawn(found, 10, seed=3) != drawn(found, 10, seed=4)
    assert [file for file, _ in sample] == ["one.py", "two.py"] * 5


def test_mutmuts_mutants_are_drawn_before_they_run(tmp_path: Path) -> None:
    pytest.importorskip("mutmut", reason="make mutants brings it: .[mutants]")
    copy_sources(tmp_path, Part(["minireptile/tasks/s*.py", "minireptile/rng.py"], []))
    sources = [*(tmp_path / "minireptile").rglob("*.py"), *(tmp_path / "bench").rglob("*.py")]
    assert not any("strict=" in path.read_text(encoding="utf-8") for path in sources)
    assert any("zip(" in path.read_text(encoding="utf-8") for path in sources)
    names = sample(tmp_path, 4, seed=1)
    modules = [function_of(name).split(".")[1] for name in names]
    assert (len(set(names)), modules) == (4, ["rng", "tasks"] * 2)


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("zip(a, b, strict=True)", "zip(a, b)"),
        ("zip(\n    a, b,\n    strict=False\n)", "zip(\n    a, b\n)"),
        ('p.write_text(s, encoding="utf-8")', "p.write_text(s)"),
        ('p.read_text(encoding="utf-8")', "p.read_text()"),
        ('p.open("w", encoding="utf-8", newline="")', 'p.open("w", newline="")'),
        ('p.read_text(encoding="utf-8", errors="replace")', 'p.read_text(errors="replace")'),
    ],
)
def test_guards_are_left_out(source: str, left: str) -> None:
    assert without_guards(source) == left


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("a.b.x_f__mutmut_1", "a.b.f"),
        ("a.b.x__f__mutmut_12", "a.b._f"),
        ("a.xǁCǁ_f__mutmut_3", "a.C._f"),
    ],
)
def test_a_mutant_is_found_in_survivors_md_by_its_function(name: str, function: str) -> None:
    assert function_of(name) == function
