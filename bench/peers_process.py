"""A variant of a framework in a process of its own, spoken to in lines of JSON.

The thread pools of two frameworks in one process disturb each other, and some fix their number of
threads when they start.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minireptile.backend import BACKENDS, DEVICES

from .child import answering, end, last_words, lines_of, sentence
from .peers_case import CASES, in_double
from .results import Row
from .settings import MINIIMAGENET, OMNIGLOT, SINE

ROOT = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """Why a variant has no figures."""


class Peer(NamedTuple):
    """A framework: the package to look for, and the module whose `build` makes its variants."""

    package: str
    module: str


PEERS = {
    "minireptile": Peer("minireptile", "bench.peers_case"),
    "PyTorch": Peer("torch", "bench.peers_torch"),
    "JAX": Peer("jax", "bench.peers_jax"),
    "Thinc": Peer("thinc", "bench.peers_thinc"),
}

TORCH = ("eager", "foreach", "channels last, fused", "vmap", "compiled", "compiled vmap")
PROCESSES = "two processes"
HOST = tuple(name for name in BACKENDS if name not in DEVICES)
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    str(OMNIGLOT): {
        "minireptile": HOST,
        "PyTorch": (*TORCH, PROCESSES),
        "JAX": ("jit vmap", "jit map"),
    },
    str(SINE): {
        "minireptile": HOST,
        "PyTorch": ("eager", "foreach", "compiled"),
        "JAX": ("jit vmap", "jit map"),
        "Thinc": ("Linear, own tanh",),
    },
    str(replace(SINE, tasks=5)): {
        "minireptile": HOST,
        "PyTorch": ("eager", "foreach", "vmap", "compiled", "compiled vmap", PROCESSES),
        "JAX": ("jit vmap", "jit map"),
        "Thinc": ("Linear, own tanh",),
    },
    f"{SINE}, 1000 in a row": {"minireptile": HOST, "JAX": ("jit scan",)},
    str(MINIIMAGENET): {"minireptile": HOST, "PyTorch": TORCH},
}
QUICK_CASES = (str(OMNIGLOT), str(SINE))
QUICK_VARIANTS = (*HOST, "eager", "jit vmap", "Linear, own tanh")


FIGURES = ("seconds", "low", "high", "ratio", "first_seconds", "difference")


@dataclass(frozen=True)
class Job:
    """One variant in one process, on a GPU or not; `double`: it is checked `in_double` too."""

    case: str
    framework: str
    variant: str
    threads: int
    double: bool = False
    gpu: bool = False

    @property
    def row(self) -> Row:
        """Its row, without figures yet."""
        names = {"case": self.case, "variant": str(self), "framework": self.framework}
        return {**names, "threads": self.threads, **dict.fromkeys(FIGURES), "note": ""}

    def __str__(self) -> str:
        if not self.variant:
            return self.framework
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.framework} {self.variant}, {threads}"


def jobs_of(case: str, threads: tuple[int, ...], quick: bool) -> list[Job]:
    """All jobs of a case; an absent framework has one, without a variant."""
    jobs = []
    for framework, variants in VARIANTS[case].items():
        if find_spec(PEERS[framework].package) is None:
            jobs.append(Job(case, framework, "", max(threads)))
            continue
        for variant in variants:
            if quick and variant not in QUICK_VARIANTS:
                continue
            # Not where it takes minutes to compile again, nor what the project's tests do anyway.
            double = case == str(OMNIGLOT) and framework != "minireptile" and not quick
            double = double and "compiled" not in variant and variant != PROCESSES
            numbers = (2,) if variant == PROCESSES else threads
            jobs += [Job(case, framework, variant, n, double) for n in numbers]
    return jobs


def serve() -> None:
    """Be the process of the job in argv[1]: first theta, then the seconds of as many calls as a
    line on stdin asks for. Answers are JSON objects, one a line, on what was stdout."""
    with answering() as answer:
        try:
            job = Job(**json.loads(sys.argv[1]))
            case, make = CASES[job.case](), import_module(PEERS[job.framework].module).build
            built = make(case, job.variant, job.threads, job.gpu)
            start = time.perf_counter()
            theta = built.run()
            first = time.perf_counter() - start
            results = [built.flat(theta)]
            for other in in_double(case) if job.double else []:
                again = make(other, job.variant, job.threads, job.gpu)
                results.append(again.flat(again.run()))
            answer({"first": first, "thetas": [_packed(theta) for theta in results]})
            for line in sys.stdin:
                calls = json.loads(line)["calls"]
                start = time.perf_counter()
                for _ in range(calls):
                    built.run()
                seconds = time.perf_counter() - start
                _settle()
                answer({"seconds": seconds})
        except Exception as error:
            answer({"error": sentence(error)})


def _settle() -> None:
    """Return when this process's threads have stopped spinning, as some do for a while after work;
    the next process shall have the machine to itself."""
    for _ in range(25):
        used = time.process_time()
        time.sleep(0.02)
        if time.process_time() - used < 0.002:
            return


def _packed(theta: NDArray) -> str:
    return base64.b64encode(np.asarray(theta, np.float64).tobytes()).decode()


def unpacked(text: str) -> NDArray:
    return np.frombuffer(base64.b64decode(text), np.float64)


class Child:
    """The process of a job, as a context; `command` starts it, and gets the job as an argument."""

    def __init__(self, job: Job, command: list[str], cache: str | None = None) -> None:
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*command, json.dumps(asdict(job))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            cwd=ROOT, env=environment(job.threads, cache, job.gpu),
            start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.stdin, self.lines = self.process.stdin, lines_of(self.process)

    def ask(self, limit: float, **question: Any) -> dict[str, Any]:
        """The answer to a question, or to none the next answer; `Failed` if none comes."""
        line = ""
        with suppress(OSError):  # a broken pipe
            if question:
                print(json.dumps(question), file=self.stdin, flush=True)
            try:
                line = self.lines.get(timeout=limit)
            except queue.Empty:
                end(self.process)
                raise Failed(f"gave no answer within {limit:g} s") from None
        if not line:
            raise Failed(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        return f"its process ended with code {code}: {last_words(self.errors.read())}"

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self.stdin.close()  # the process ends when it sees no more questions
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            end(self.process)
        self.errors.close()


THREADS = (
    "OMP_NUM_THREADS",  # PyTorch
    "OPENBLAS_NUM_THREADS",  # NumPy, SciPy
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",  # Thinc
    "NUMBA_NUM_THREADS",
    "NPROC",  # JAX
)
COMMAND = [sys.executable, "-c", "from bench.peers_process import serve; serve()"]


def environment(threads: int, cache: str | None, gpu: bool = False) -> dict[str, str]:
    """The variables of a child: its number of threads, where compilers keep what they made, and
    whether JAX computes on a GPU, whose memory it must not take for itself."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = dict.fromkeys(THREADS, str(threads))
    if cache is not None:
        variables |= {"NUMBA_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    variables |= {"JAX_PLATFORMS": "cuda" if gpu else "cpu", "PYTHONPATH": path}
    return {**os.environ, **variables, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
