"""The same meta-iteration in PyTorch, JAX and Thinc, beside minireptile's own backends.

Each variant is written as a good user of the framework would, gets the same theta and the same
mini-batches, and is compared with the NumPy reference before it is timed. Every variant works in a
process of its own: the thread pools of two frameworks in one process disturb each other, and some
fix their number of threads when they start. The processes are timed in turns, round by round, so
that whatever else the machine does meets all; between its turns a process sleeps.

A peer that is not installed, fails, hangs or gives another theta gets a row that says so.
"""

from __future__ import annotations

import base64
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.backend import BACKENDS
from minireptile.errors import InputError
from minireptile.optim import Optimizer

from .machine import cores
from .measure import Mismatch
from .results import Row
from .settings import OMNIGLOT, SINE, Setting

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.02  # seconds that a turn should last
FIRST_LIMIT = 600.0  # seconds until the first result: compilers take their time
TURN_LIMIT = 120.0  # seconds until the answer to a question

COLUMNS = (
    "case", "variant", "seconds", "low", "high", "ratio", "first_seconds", "difference", "note",
)  # fmt: skip

# ------------------------------------------------------------------------------- what is computed


@dataclass(frozen=True)
class Case:
    """N meta-iterations, one after another: k steps on each of T tasks, then the outer update.

    Attributes
    ----------
    model : Model
    optimizer : SGD or Adam
        Its state starts from zero in every task.
    theta : (P,)
    x : (N, k, T, B, ...)
    y : (N, k, T, B) labels, or (N, k, T, B, n_out) targets
    epsilon : float
        Outer step size; theta + epsilon (mean of phi - theta).
    """

    model: mr.Model
    optimizer: Optimizer
    theta: NDArray
    x: NDArray
    y: NDArray
    epsilon: float = 0.5


def case_of(setting: Setting, iterations: int = 1) -> Case:
    """Meta-iterations of a setting, each with data of its own."""
    xs, ys = zip(*(setting.data(it) for it in range(iterations)), strict=True)
    model = setting.model()
    return Case(model, setting.optimizer, model.init(0), np.stack(xs), np.stack(ys))


CASES: dict[str, Callable[[], Case]] = {
    str(OMNIGLOT): lambda: case_of(OMNIGLOT),
    str(SINE): lambda: case_of(SINE),
    str(replace(SINE, tasks=5)): lambda: case_of(replace(SINE, tasks=5)),
    f"{SINE}, 1000 in a row": lambda: case_of(SINE, 1000),
}


def meta_iteration(case: Case, model: mr.Model, theta: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Theta after one meta-iteration: x (k, T, B, ...), y (k, T, B, ...)."""
    phi = np.repeat(theta[None], x.shape[1], axis=0)
    mr.adapt(model, phi, x, y, case.optimizer)
    return theta + case.epsilon * (phi.mean(0) - theta)


def reference(case: Case) -> NDArray:
    """What all are held to: theta (P,) by the NumPy kernels."""
    return build(case, "numpy").run()


class Built(NamedTuple):
    """A variant made ready: `run` computes its theta, `flat` turns that into minireptile's (P,)."""

    run: Callable[[], Any]
    flat: Callable[[Any], NDArray]


def build(case: Case, backend: str, threads: int = 1) -> Built:
    """minireptile itself, on a backend."""
    model = case.model.on(backend)

    def run() -> NDArray:
        theta = case.theta
        for x, y in zip(case.x, case.y, strict=True):
            theta = meta_iteration(case, model, theta, x, y)
        return theta

    return Built(run, lambda theta: theta)


def difference(case: Case, theta: NDArray, wanted: NDArray) -> float:
    """||theta - wanted|| / ||wanted - start||; infinite for another shape.

    Biases under batch norm are left out: their gradient is zero up to rounding, and Adam makes
    steps of full length from that.
    """
    if theta.shape != wanted.shape:
        return math.inf
    counted = np.ones(case.model.size, bool)
    for step, after in zip(case.model.plan, case.model.plan[1:], strict=False):
        if "bias" in step.slots and isinstance(after.layer, mr.BatchNorm):
            counted[step.slots["bias"].start : step.slots["bias"].stop] = False
    apart, moved = (a[counted].astype(float) for a in (theta - wanted, wanted - case.theta))
    return float(np.linalg.norm(apart) / np.linalg.norm(moved))


def tolerance(case: Case) -> float:
    """The largest difference that rounding explains.

    In single precision now and then a ReLU is on in one program and off in the other, and that task
    goes another way from there; Adam's first step is sign(g), which flips where g is nothing but
    rounding; and PyTorch's epsilon stands elsewhere (kernels/adam.md, eq. 6), which is worth 5 %
    of the update. So a network with ReLU is held tightly in double precision only (`in_double`).
    """
    if case.theta.dtype == np.float64:
        return 1e-5 if isinstance(case.optimizer, mr.Adam) else 1e-9
    return 0.3 if any(isinstance(layer, mr.ReLU) for layer in case.model.layers) else 1e-3


def check(name: str, case: Case, theta: NDArray, wanted: NDArray) -> float:
    """The `difference`; `Mismatch` where it is beyond the `tolerance`."""
    apart = difference(case, theta, wanted)
    if not apart <= tolerance(case):  # nor if it is NaN
        how = f"{type(case.optimizer).__name__}, {case.theta.dtype}"
        raise Mismatch(f"{name}: theta is off by {apart:.1e} of the update ({how})")
    return apart


def in_double(case: Case) -> list[Case]:
    """The case in double precision, with SGD, and with Adam for an epsilon so small that it does
    not matter where it stands."""
    theta, x = case.theta.astype(float), case.x.astype(float)
    y = case.y.astype(float) if case.y.dtype.kind == "f" else case.y
    double = replace(case, theta=theta, x=x, y=y)
    optimizers = (mr.SGD(0.01), mr.Adam(1e-3, beta1=0.0, eps=1e-12))
    return [replace(double, optimizer=optimizer) for optimizer in optimizers]


# -------------------------------------------------------------------------------- who computes it


class Failed(Exception):
    """Why a variant has no figures."""


class Peer(NamedTuple):
    """A framework: the package to look for, and the module whose `build` makes its variants."""

    package: str
    module: str


PEERS = {
    "minireptile": Peer("minireptile", "bench.peers"),
    "PyTorch": Peer("torch", "bench.peers_torch"),
    "JAX": Peer("jax", "bench.peers_jax"),
    "Thinc": Peer("thinc", "bench.peers_thinc"),
}

TORCH = ("eager", "foreach", "channels last, fused", "vmap", "compiled", "compiled vmap")
PROCESSES = "two processes"
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    str(OMNIGLOT): {
        "minireptile": BACKENDS,
        "PyTorch": (*TORCH, PROCESSES),
        "JAX": ("jit vmap", "jit map"),
    },
    str(SINE): {
        "minireptile": BACKENDS,
        "PyTorch": ("eager", "foreach", "compiled"),
        "JAX": ("jit vmap", "jit map"),
        "Thinc": ("Linear, own tanh",),
    },
    str(replace(SINE, tasks=5)): {
        "minireptile": BACKENDS,
        "PyTorch": ("eager", "foreach", "vmap", "compiled", "compiled vmap", PROCESSES),
        "JAX": ("jit vmap", "jit map"),
        "Thinc": ("Linear, own tanh",),
    },
    f"{SINE}, 1000 in a row": {"minireptile": BACKENDS, "JAX": ("jit scan",)},
}
QUICK_CASES = (str(OMNIGLOT), str(SINE))
QUICK_VARIANTS = (*BACKENDS, "eager", "jit vmap", "Linear, own tanh")


FIGURES = ("seconds", "low", "high", "ratio", "first_seconds", "difference")


@dataclass(frozen=True)
class Job:
    """One variant in one process; `double`: it is checked `in_double` too."""

    case: str
    framework: str
    variant: str
    threads: int
    double: bool = False

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


# ---------------------------------------------------------------------------- inside one process


def serve() -> None:
    """Be the process of the job in argv[1]: first theta, then the seconds of as many calls as a
    line on stdin asks for. Answers are JSON objects, one a line, on what was stdout."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever a framework prints must not get between the answers

        def answer(**message: Any) -> None:
            print(json.dumps(message), file=answers, flush=True)

        try:
            job = Job(**json.loads(sys.argv[1]))
            case, make = CASES[job.case](), import_module(PEERS[job.framework].module).build
            built = make(case, job.variant, job.threads)
            start = time.perf_counter()
            theta = built.run()
            first = time.perf_counter() - start
            results = [built.flat(theta)]
            for other in in_double(case) if job.double else []:
                again = make(other, job.variant, job.threads)
                results.append(again.flat(again.run()))
            answer(first=first, thetas=[_packed(theta) for theta in results])
            for line in sys.stdin:
                calls = json.loads(line)["calls"]
                start = time.perf_counter()
                for _ in range(calls):
                    built.run()
                seconds = time.perf_counter() - start
                _settle()
                answer(seconds=seconds)
        except Exception as error:
            text = str(error).strip().splitlines() or ["without a message"]
            answer(error=f"{type(error).__name__}: {text[0][:200]}")


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


def _unpacked(text: str) -> NDArray:
    return np.frombuffer(base64.b64decode(text), np.float64)


# ----------------------------------------------------------------------------- from the outside


class Child:
    """The process of a job, as a context; `command` starts it, and gets the job as an argument."""

    def __init__(self, job: Job, command: list[str], cache: str | None = None) -> None:
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*command, json.dumps(asdict(job))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            cwd=ROOT, env=environment(job.threads, cache),
            start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.stdout:
            self.lines.put(line)
        self.lines.put("")  # the end

    def ask(self, limit: float, **question: Any) -> dict[str, Any]:
        """The answer to a question, or to none the next answer; `Failed` if none comes."""
        line = ""
        with suppress(OSError):  # a broken pipe
            if question:
                print(json.dumps(question), file=self.stdin, flush=True)
            try:
                line = self.lines.get(timeout=limit)
            except queue.Empty:
                self._kill()
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
        said = self.errors.read().strip().splitlines() or ["it said nothing"]
        return f"its process ended with code {code}: {said[-1][:200]}"

    def _kill(self) -> None:
        """With the processes that it started."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self.stdin.close()  # the process ends when it sees no more questions
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self._kill()
        self.reader.join()
        self.stdout.close()
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
COMMAND = [sys.executable, "-c", "from bench.peers import serve; serve()"]


def environment(threads: int, cache: str | None) -> dict[str, str]:
    """The variables of a child: its number of threads, and where compilers keep what they made."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = dict.fromkeys(THREADS, str(threads))
    if cache is not None:
        variables |= {"NUMBA_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    return {**os.environ, **variables, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}


def prepare(job: Job, child: Child, cases: list[Case], wanted: list[NDArray]) -> Row:
    """Wait for its first results and check them: seconds of the first call, and the difference.

    `cases` and `wanted`, what the reference gives, come in the order of its results.
    """
    answer = child.ask(FIRST_LIMIT)
    thetas = map(_unpacked, answer["thetas"])
    expected = zip(cases, wanted, strict=True) if job.double else [(cases[0], wanted[0])]
    apart = [
        check(str(job), case, theta, right)
        for (case, right), theta in zip(expected, thetas, strict=True)
    ]
    return {"first_seconds": answer["first"], "difference": apart[0]}


def turns(children: dict[Job, Child], rounds: int) -> Iterator[tuple[Job, float | Failed]]:
    """Ask the children in turns: a job and the seconds of one of its calls, or why there are none.
    One that fails is not asked again."""
    calls: dict[Job, int] = {}
    for number in range(rounds + 1):  # the first finds how many calls fill a turn
        for job, child in list(children.items()):
            try:
                n = calls.get(job, 2)
                seconds = child.ask(TURN_LIMIT, calls=n)["seconds"] / n
                calls.setdefault(job, max(1, math.ceil(LEAST / max(seconds, 1e-6))))
                if number:
                    yield job, seconds
            except Failed as reason:
                del children[job]
                yield job, reason


def measure(name: str, jobs: list[Job], rounds: int, cache: str | None = None) -> list[Row]:
    """The rows of one case; `Mismatch` if a backend of minireptile itself is off."""
    case = CASES[name]()
    cases = [case, *(in_double(case) if any(job.double for job in jobs) else [])]
    wanted = [reference(each) for each in cases]
    rows = {job: job.row for job in jobs}
    times: dict[Job, list[float]] = {job: [] for job in jobs}
    children: dict[Job, Child] = {}
    with ExitStack() as stack:
        for job in jobs:
            if not job.variant:
                rows[job]["note"] = f"not installed: pip install {PEERS[job.framework].package}"
                continue
            _say(f"{name}: {job}")
            child = stack.enter_context(Child(job, COMMAND, cache))
            try:
                rows[job] |= prepare(job, child, cases, wanted)
                children[job] = child
            except (Failed, Mismatch) as reason:
                if job.framework == "minireptile" and isinstance(reason, Mismatch):
                    raise
                rows[job]["note"] = str(reason)
        _say(f"{name}: {rounds} rounds")
        for job, found in turns(children, rounds):
            if isinstance(found, Failed):
                rows[job]["note"], times[job] = str(found), []
            else:
                times[job].append(found / len(case.x))
    for job, seconds in times.items():
        if seconds:
            low, median, high = (float(q) for q in np.percentile(seconds, (25, 50, 75)))
            rows[job] |= {"seconds": median, "low": low, "high": high}
    return with_ratios(list(rows.values()))


def with_ratios(rows: list[Row]) -> list[Row]:
    """`ratio`: seconds over those of minireptile's fastest row."""
    ours = [row["seconds"] for row in rows if row["seconds"] and row["framework"] == "minireptile"]
    for row in rows:
        if ours and row["seconds"]:
            row["ratio"] = row["seconds"] / min(ours)
    return rows


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(rounds: int = 15, quick: bool = False, threads: int | None = None) -> list[Row]:
    """Measure every case with every framework that is installed.

    Parameters
    ----------
    rounds : int
        Turns that each variant gets, at least 1.
    quick : bool
        Two cases, a variant or two of each framework, one number of threads, and compilers find
        what they kept from earlier runs. Else they start from nothing, so that `first_seconds`
        holds all they do in the first row of a variant; later rows may use what that one left.
    threads : int, optional
        The most threads, all cores if not given; variants are timed with it and with one.

    Returns
    -------
    list of dict
        `case`, `variant`, `framework`, `threads`; `seconds` for a meta-iteration (median) with the
        quartiles `low` and `high`; `ratio` to minireptile's fastest; `first_seconds` of the first
        call; `difference` from the reference's theta, in lengths of the update; `note`, why there
        are no figures, which then are None.

    Raises
    ------
    InputError
        If a number is below 1.
    Mismatch
        If a backend of minireptile differs from the reference.
    """
    for name, number in {"rounds": rounds, "threads": threads}.items():
        if number is not None and number < 1:
            raise InputError(f"--{name} must be at least 1, not {number}")
    most = threads or cores()
    numbers = (most,) if quick else tuple(sorted({1, most}))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as fresh:
        return [
            row
            for case in (QUICK_CASES if quick else CASES)
            for row in measure(
                case, jobs_of(case, numbers, quick), rounds, None if quick else fresh
            )
        ]


def summary(rows: list[Row]) -> str:
    """For each case and framework a line: its fastest variant against minireptile's fastest."""
    fastest: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row["case"], row["framework"]
        if row["ratio"] and (key not in fastest or row["ratio"] < fastest[key]["ratio"]):
            fastest[key] = row
    return "\n".join(
        f"- {case}: {row['variant']} takes {row['ratio']:.2f} times as long as "
        f"{fastest[case, 'minireptile']['variant']}"
        for (case, framework), row in fastest.items()
        if framework != "minireptile"
    )
