"""tests/portable.py: which processors a machine can compute as, and with what settings."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from . import portable
from .portable import MACHINES, TESTS, Machine, can_be_disabled

BY_NAME = {machine.name: machine for machine in MACHINES}
NEW_NUMPY = ["X86_V3", "X86_V4", "AVX512_ICL"]  # 2.4 and newer call them by levels
OLD_NUMPY = ["SSSE3", "AVX2", "FMA3", "AVX512F", "AVX512_SKX"]


@pytest.mark.parametrize(
    ("features", "wide"),
    [(NEW_NUMPY, "X86_V4 AVX512_ICL"), (OLD_NUMPY, "AVX512F AVX512_SKX")],
    ids=["new names", "old names"],
)
def test_a_machine_with_avx512_can_be_each(features: list[str], wide: str) -> None:
    settings = {}
    for name, machine in BY_NAME.items():
        assert machine.why_not("x86_64", features) == ""
        settings[name] = machine.environment("x86_64", features)
    assert settings["avx2"] == {
        "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": wide,
        "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "",
    }  # fmt: skip
    assert settings["sse"]["NPY_DISABLE_CPU_FEATURES"] == " ".join(features)
    assert settings["baseline"]["NUMBA_CPU_NAME"] == "generic"


def test_what_a_machine_is_already_is_skipped() -> None:
    assert "nothing here beyond avx2" in BY_NAME["avx2"].why_not("x86_64", ["X86_V3"])
    assert BY_NAME["sse"].why_not("x86_64", ["X86_V3"]) == ""
    assert "nothing here beyond sse" in BY_NAME["sse"].why_not("x86_64", [])


def test_an_arm_is_no_x86_and_has_a_baseline() -> None:
    assert "this machine is aarch64, and sse is x86_64" in BY_NAME["sse"].why_not(
        "aarch64", ["SVE"]
    )
    assert BY_NAME["baseline"].why_not("aarch64", ["SVE"]) == ""
    assert BY_NAME["baseline"].environment("aarch64", ["SVE"])["OPENBLAS_CORETYPE"] == "ARMV8"


def test_a_process_computes_as_it_was_asked_to() -> None:
    possible = [m for m in MACHINES if not m.why_not(platform.machine(), can_be_disabled())]
    if not possible:
        pytest.skip("this machine is the oldest already")
    if os.environ.get("NPY_DISABLE_CPU_FEATURES"):
        pytest.skip("this process is held to an older machine already")
    settings = possible[-1].environment(platform.machine(), can_be_disabled())
    code = "from tests.portable import computes_as; print(computes_as())"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=portable.ROOT, env={**os.environ, **settings},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "NumPy with its baseline alone" in said
    assert "Numba" not in said or "Numba for generic" in said


@pytest.mark.parametrize(("codes", "verdict"), [([0, 0], 0), ([0, 1], 1), ([1, 0], 1)])
def test_one_failure_fails_and_the_others_still_run(
    codes: list[int], verdict: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = []

    def run(name: str, settings: dict[str, str], threads: int, tests: tuple[str, ...]) -> bool:
        asked.append((name, threads, tests))
        return codes[threads - 1] == 0

    anything = Machine("old", "generic", {platform.machine(): "Generic"})
    monkeypatch.setattr(portable, "MACHINES", (anything,))
    monkeypatch.setattr(portable, "can_be_disabled", lambda: ["SVE"])
    monkeypatch.setattr(portable, "run", run)
    assert portable.main([]) == verdict
    assert asked == [("old", 1, TESTS), ("old", 2, TESTS)]
    said = capsys.readouterr().out
    assert [f"old on {n} threads" in said for n in (1, 2)] == [bool(code) for code in codes]


def test_what_is_run_is_there() -> None:
    for test in (*TESTS, *portable.SHORT_TESTS):
        assert (portable.ROOT / "tests" / test).exists()
