"""The numerical tests again, as other processors would compute them: make portable.

    python -m tests.portable [--short] [--list]

Environment variables make OpenBLAS, NumPy and Numba do as on an older processor. They are read
when a process starts, so each configuration is a process of its own; and it has a Numba cache of
its own, shared by its runs on one thread and on two. What this machine cannot be is skipped.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("kernels", "engine", "algorithms", "testing", "tasks/test_sampling.py")
# The shortest that meets every kernel and loop: sums in another order show here first.
SHORT_TESTS = (
    "kernels/test_contract.py", "kernels/test_kernels.py", "engine/test_layers.py",
    "algorithms/test_optim.py", "algorithms/test_loops.py", "algorithms/test_maml.py",
)  # fmt: skip
X86 = ("x86_64", "AMD64")
WIDE = ("AVX512", "X86_V4")  # what NumPy calls the features that haswell lacks


@dataclass(frozen=True)
class Machine:
    """A processor to compute as.

    Parameters
    ----------
    name : str
    numba : str
        As LLVM calls it.
    blas : dict
        As OpenBLAS calls it, for each architecture that can be it.
    lacks : tuple of str, optional
        The beginnings of NumPy's names for what it lacks; all that can be taken away if empty.
    """

    name: str
    numba: str
    blas: dict[str, str]
    lacks: tuple[str, ...] = ("",)

    def disabled(self, features: Iterable[str]) -> list[str]:
        """Which of these features of a machine it lacks."""
        return [name for name in features if name.startswith(self.lacks)]

    def why_not(self, architecture: str, features: Iterable[str]) -> str:
        """Why a machine cannot compute as this one; "" if it can."""
        if architecture not in self.blas:
            return f"this machine is {architecture}, and {self.name} is {' or '.join(self.blas)}"
        if not self.disabled(features):
            return f"NumPy has nothing here beyond {self.name}"
        return ""

    def environment(self, architecture: str, features: Iterable[str]) -> dict[str, str]:
        """What a process is started with, to compute as this one."""
        return {
            "OPENBLAS_CORETYPE": self.blas[architecture],
            "NPY_DISABLE_CPU_FEATURES": " ".join(self.disabled(features)),
            "NUMBA_CPU_NAME": self.numba,
            "NUMBA_CPU_FEATURES": "",  # those of that processor, not this machine's
        }


def on_x86(blas: str) -> dict[str, str]:
    return dict.fromkeys(X86, blas)


MACHINES = (
    Machine("avx2", "haswell", on_x86("Haswell"), WIDE),
    Machine("sse", "nehalem", on_x86("Nehalem")),
    Machine("baseline", "generic", {**on_x86("Prescott"), "aarch64": "ARMV8", "arm64": "ARMV8"}),
)
SHORT = MACHINES[1], MACHINES[2]  # the first of these that this machine can be


def can_be_disabled() -> list[str]:
    """What this processor has and NumPy can do without."""
    import numpy

    core = "_core" if hasattr(numpy, "_core") else "core"
    umath: Any = import_module(f"numpy.{core}._multiarray_umath")
    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]


def computes_as() -> str:
    """What this process computes with, as the libraries say themselves."""
    import numpy  # noqa: F401  (brings its BLAS)

    parts = [f"NumPy with {' '.join(can_be_disabled()) or 'its baseline alone'}"]
    if not _why_not("numba"):
        import_module("scipy.linalg.cython_blas")
        target: Any = import_module("numba.core.registry").cpu_target.target_context
        parts.append(f"Numba for {target.codegen().magic_tuple()[1]}")
        found = import_module("threadpoolctl").threadpool_info()
        names = {
            f"{lib['internal_api']} {lib.get('architecture', '')} on {lib['num_threads']}"
            for lib in found if lib["user_api"] == "blas"
        }  # fmt: skip
        parts += sorted(names)
    return ", ".join(parts)


def _why_not(backend: str) -> str:
    return import_module("minireptile.backend").why_not(backend)


def run(name: str, settings: dict[str, str], threads: int, tests: Iterable[str]) -> bool:
    """Whether the tests pass in processes with these settings, on so many threads."""
    counts = {"NUMBA_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    if not _why_not("numba"):
        folder = import_module("minireptile.devices.numba_setup").cache_folder().parent
        counts["NUMBA_CACHE_DIR"] = str(folder / f"portable-{name}")
    environment = {**os.environ, **settings, **counts}
    title = f"{name}, {threads} thread{'s' * (threads > 1)}"
    print(f"== {title}", flush=True)
    code = "from tests.portable import computes_as; print(computes_as())"
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    subprocess.run([sys.executable, "-m", "tests.compile"], cwd=ROOT, env=environment, check=True)
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal"]
    paths = [f"tests/{test}" for test in tests]
    done = subprocess.run([*command, *paths], cwd=ROOT, env=environment, check=False)
    word = "passed" if done.returncode == 0 else "FAILED"
    print(f"== {title}: {word} in {time.monotonic() - start:.0f} s", flush=True)
    return done.returncode == 0


def main(arguments: list[str] | None = None) -> int:
    """Run the configurations that this machine can be, one after the other."""
    parser = argparse.ArgumentParser("python -m tests.portable", description=__doc__.split(":")[0])
    parser.add_argument("--short", action="store_true", help="one of them, and fewer tests")
    parser.add_argument("--list", action="store_true", help="say what would be run")
    options = parser.parse_args(arguments)
    architecture, features = platform.machine(), can_be_disabled()
    runs: list[tuple[str, dict[str, str], int]] = []
    for machine in SHORT if options.short else MACHINES:
        if reason := machine.why_not(architecture, features):
            print(f"== {machine.name}: skipped, {reason}")
            continue
        settings = machine.environment(architecture, features)
        runs += [(machine.name, settings, threads) for threads in (1, 2)]
    if options.short:
        runs = runs[:1]
    if options.list:
        for name, settings, threads in runs:
            print(f"{name}, {threads}:", *(f"{key}={value!r}" for key, value in settings.items()))
        return 0
    failed = [r[::2] for r in runs if not run(*r, SHORT_TESTS if options.short else TESTS)]
    if failed:
        print("not as on this machine:", *(f"{name} on {n} threads" for name, n in failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
