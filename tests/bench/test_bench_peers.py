"""bench.peers: what is checked before it is timed, the processes, and each installed framework."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import peers, peers_case, peers_process
from bench.measure import Mismatch
from bench.peers import measure, turns
from bench.peers_case import Case, check, in_double, reference
from bench.peers_process import Child, Failed, Job
from minireptile.errors import InputError

SINE = "sine 1x5x10"


def small_case() -> Case:
    """A network with every layer of the Omniglot one, odd and even sizes, in double precision."""
    block: list = [mr.Conv2D(3, 3, stride=2), mr.BatchNorm(), mr.ReLU()]
    model = mr.Model(
        [*block * 2, mr.Flatten(), mr.Dense(4), mr.ReLU(), mr.Dense(3)],
        (10, 10, 2),
        dtype="float64",
    )
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1, 3, 2, 4, 10, 10, 2)), rng.integers(0, 3, (1, 3, 2, 4))
    theta = 0.5 * rng.standard_normal(model.size)  # small: a sure softmax has gradients near 0
    return Case(model, mr.SGD(0.1), theta, x, y)


def child(program: str) -> Child:
    """A process that runs a Python program in the place of `serve`."""
    return Child(Job(SINE, "minireptile", "numpy", 1), [sys.executable, "-c", program])


# ------------------------------------------------------------------------------------- the check


def test_reference_is_the_mean_of_tasks_adapted_one_by_one() -> None:
    case = small_case()
    phis = []
    for t in range(2):
        phi = case.theta.copy()
        mr.adapt(case.model, phi, case.x[0, :, t], case.y[0, :, t], case.optimizer)
        phis.append(phi)
    wanted = case.theta + 0.3 * ((phis[0] + phis[1]) / 2 - case.theta)
    check("one by one", replace(case, epsilon=0.3), reference(replace(case, epsilon=0.3)), wanted)
    assert case.epsilon == 0.5


def test_meta_iterations_follow_one_another() -> None:
    case = small_case()
    once = replace(case, theta=reference(case), x=case.x[:, ::-1], y=case.y[:, ::-1])
    x, y = (np.concatenate([a, a[:, ::-1]]) for a in (case.x, case.y))
    np.testing.assert_array_equal(reference(replace(case, x=x, y=y)), reference(once))


@pytest.mark.parametrize("wrong", ["start", "one entry", "nan", "shape", "sign"])
def test_check_catches_a_wrong_theta(wrong: str) -> None:
    case = small_case()
    wanted = reference(case)
    assert check("this", case, wanted, wanted) == 0
    theta = wanted.copy()
    if wrong == "start":
        theta = case.theta
    elif wrong == "one entry":
        theta[0] += 1e-6
    elif wrong == "nan":
        theta[-1] = np.nan
    elif wrong == "shape":
        theta = theta[:-1]
    else:
        theta = 2 * case.theta - wanted
    with pytest.raises(Mismatch, match=r"this: theta is off by .* \(SGD, float64\)"):
        check("this", case, theta, wanted)


def test_the_difference_is_in_lengths_of_the_update() -> None:
    """A quarter of its length away, across."""
    case = replace(small_case(), theta=np.zeros(small_case().model.size))
    wanted, across = np.zeros_like(case.theta), np.zeros_like(case.theta)
    wanted[[-1, -2]], across[[-1, -2]] = (3, 4), (-1, 0.75)  # 5 long, 1.25 off
    assert peers_case.difference(case, wanted + across, wanted) == pytest.approx(0.25)
    assert peers_case.difference(case, wanted[:-1], wanted) == np.inf


@pytest.mark.parametrize("optimizer", [mr.SGD(0.1), mr.Adam(1e-3)], ids=["sgd", "adam"])
@pytest.mark.parametrize("iterations", [1, 4])
def test_a_theta_may_be_off_by_rounding_and_no_more(
    optimizer: mr.SGD | mr.Adam, iterations: int
) -> None:
    case = small_case()
    x, y = (np.repeat(a, iterations, axis=0) for a in (case.x, case.y))
    case = replace(case, optimizer=optimizer, x=x, y=y)
    update = np.random.default_rng(0).standard_normal(case.model.size)
    wanted = case.theta + update
    steps, ratio = 3 * iterations, np.linalg.norm(case.theta) / np.linalg.norm(update)
    allowed = 10 * 2.0**-52 * np.sqrt(steps) * ratio + (1e-5 if optimizer != mr.SGD(0.1) else 0)
    check("just", case, wanted + 0.9 * allowed * update, wanted)
    with pytest.raises(Mismatch):
        check("beyond", case, wanted + 1.1 * allowed * update, wanted)


def test_in_single_precision_only_relu_and_adam_may_go_another_way() -> None:
    sine = peers_case.case_of(peers_case.SINE)
    wanted = sine.theta + np.float32(0.01)
    size = np.linalg.norm(sine.theta) / np.linalg.norm(wanted - sine.theta)
    assert peers_case.tolerance(sine, wanted) == pytest.approx(
        10 * 2.0**-23 * np.sqrt(5) * size, rel=1e-3
    )
    assert peers_case.tolerance(replace(sine, optimizer=mr.Adam(0.1)), wanted) == 0.3
    case = small_case()
    single = replace(case, theta=case.theta.astype("f4"))
    assert peers_case.tolerance(single, single.theta + 1) == 0.3


def test_a_case_in_double_precision_is_the_same_case() -> None:
    case = peers_case.case_of(peers_case.SINE)
    for double, optimizer in zip(
        in_double(case), (mr.SGD(0.01), mr.Adam(1e-3, beta1=0.0, eps=1e-12)), strict=True
    ):
        assert double.optimizer == optimizer
        for a, b in ((double.theta, case.theta), (double.x, case.x), (double.y, case.y)):
            assert a.dtype == np.float64
            np.testing.assert_array_equal(a, b)
        assert (double.epsilon, double.model) == (case.epsilon, case.model)
    assert in_double(small_case())[0].y.dtype.kind == "i"


def test_meta_iterations_have_data_of_their_own() -> None:
    case = peers_case.case_of(peers_case.SINE, 3)
    assert case.x.shape == (3, 5, 1, 10, 1)
    for i in range(3):
        x, y = peers_case.SINE.data(i)
        np.testing.assert_array_equal(case.x[i], x)
        np.testing.assert_array_equal(case.y[i], y)


@pytest.mark.parametrize(("name", "counted"), [("conv1.bias", False), ("dense1.bias", True)])
def test_only_biases_under_batch_norm_do_not_count(name: str, counted: bool) -> None:
    case = small_case()
    wanted = reference(case)
    theta = wanted.copy()
    case.model.unflatten(theta)[name][...] += 1
    assert (peers_case.difference(case, theta, wanted) > 0) == counted


def test_an_update_that_is_wrong_by_a_third_does_not_pass_in_single_precision() -> None:
    case = small_case()
    case = replace(case, theta=case.theta.astype("f4"))
    wanted = (case.theta + np.random.default_rng(0).standard_normal(len(case.theta))).astype("f4")
    check("a quarter", case, 0.25 * case.theta + 0.75 * wanted, wanted)
    with pytest.raises(Mismatch):
        check("a third", case, 0.33 * case.theta + 0.67 * wanted, wanted)


# --------------------------------------------------------------------------------- the processes


def test_numpy_backend_in_a_process_of_its_own() -> None:
    (row,) = measure(SINE, [Job(SINE, "minireptile", "numpy", 1)], rounds=2)
    assert row["variant"] == "minireptile numpy, 1 thread"
    assert 0 < row["low"] <= row["seconds"] <= row["high"]
    assert row["first_seconds"] > 0
    assert row["ratio"] == 1
    case = peers.CASES[SINE]()
    assert row["difference"] <= peers_case.tolerance(case, reference(case))
    assert row["note"] == ""


class Known:
    """The process of a job that is told what to answer: how far off its thetas are, and what a call
    takes, one turn after another."""

    def __init__(self, wanted: list, off: list[float], seconds: list[float]) -> None:
        self.wanted, self.off, self.seconds = wanted, off, list(seconds)
        self.asked: list = []

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *error: object) -> None:
        self.asked.append("end")

    def ask(self, limit: float, **question: int) -> dict:
        if not question:
            thetas = [
                right + by * (right - start)
                for (start, right), by in zip(self.wanted, self.off, strict=True)
            ]
            return {"first": 55.0, "thetas": [peers_process._packed(theta) for theta in thetas]}
        self.asked.append(question["calls"])
        return {"seconds": question["calls"] * self.seconds.pop(0)}


def known(module: Any, monkeypatch: pytest.MonkeyPatch, case: Case, about: dict) -> dict:
    """Jobs by their variants, whose processes are `Known`; `about` has what they answer."""
    cases = [case, *in_double(case)]
    wanted = [(c.theta.astype(float), reference(c).astype(float)) for c in cases]
    children = {
        variant: Known(wanted[: len(off)], off, seconds)
        for variant, (off, seconds) in about.items()
    }
    monkeypatch.setattr(module, "Child", lambda job, command, cache: children[job.variant])
    monkeypatch.setitem(module.CASES, "known", lambda: case)
    return children


def test_the_figures_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three meta-iterations in a call of 3 to 15 s; the first turn finds how many calls fill one,
    and does not count."""
    case = peers_case.case_of(peers_case.SINE, 3)
    about = {
        "numpy": ([1e-4], [0.008, 3, 6, 15, 9]),
        "eager": ([2e-4, 0.0, 0.0], [0.5, 30, 60, 150, 90]),
        "wrong": ([0.5], []),
        "wrong in double": ([0.0, 0.0, 1e-3], []),
    }
    children = known(peers, monkeypatch, case, about)
    monkeypatch.setattr(peers, "missing", lambda job: "")
    jobs = [
        Job("known", "minireptile" if name == "numpy" else "PyTorch", name, 2, double=len(off) > 1)
        for name, (off, _) in about.items()
    ]
    *wrong, ours, other = measure("known", jobs, rounds=4)
    assert len(wrong) == 2
    assert children["numpy"].asked == [2, 3, 3, 3, 3, "end"]
    assert children["eager"].asked == [2, 1, 1, 1, 1, "end"]
    for row, times in ((ours, 1), (other, 10)):
        found = row["seconds"], row["low"], row["high"]
        assert found == pytest.approx((2.5 * times, 1.75 * times, 3.5 * times))
        assert row["ratio"] == pytest.approx(times)
        assert (row["first_seconds"], row["threads"], row["note"]) == (55, 2, "")
    assert ours["difference"] == pytest.approx(1e-4, rel=1e-3)
    assert other["difference"] == pytest.approx(2e-4, rel=1e-3)
    for row in wrong:
        assert row["seconds"] is row["ratio"] is row["first_seconds"] is None
        assert "theta is off by" in row["note"]


def test_the_first_call_is_timed_alone_and_the_others_as_many_as_are_asked_for() -> None:
    """A clock that goes on by 100 s in the first call, by 2 s in every other."""
    program = (
        "import bench.peers_case as c, bench.peers_process as p\n"
        "from types import SimpleNamespace\n"
        "now, runs, real = [7.0], [], c.build\n"
        "p.time = SimpleNamespace(perf_counter=lambda: now[0])\n"
        "p._settle = lambda: None\n"
        "def build(*a):\n"
        "    built = real(*a)\n"
        "    def run():\n"
        "        now[0] += 2.0 if runs else 100.0\n"
        "        runs.append(1)\n"
        "        return built.run()\n"
        "    return built._replace(run=run)\n"
        "c.build = build\n"
        "p.serve()\n"
    )
    with child(program) as process:
        answer = process.ask(600)
        assert answer["first"] == 100
        assert process.ask(600, calls=3)["seconds"] == 6
        assert process.ask(600, calls=1)["seconds"] == 2
    case = peers.CASES[SINE]()
    (theta,) = map(peers_process.unpacked, answer["thetas"])
    check("sent", case, theta, reference(case))


def test_a_process_has_its_threads_and_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "before")
    given, kept = peers_process.environment(3, "folder"), peers_process.environment(3, None)
    for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA"):
        assert given[f"{name}_NUM_THREADS"] == "3"
    assert given["VECLIB_MAXIMUM_THREADS"] == given["NPROC"] == "3"
    assert given["NUMBA_CACHE_DIR"] == given["TORCHINDUCTOR_CACHE_DIR"] == "folder"
    assert kept["NUMBA_CACHE_DIR"] == "before"
    assert given["JAX_PLATFORMS"] == "cpu"
    assert peers_process.environment(3, None, gpu=True)["JAX_PLATFORMS"] == "cuda"


def test_every_variant_is_timed_with_each_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers_process, "find_spec", lambda name: True)
    omniglot = str(peers_case.OMNIGLOT)
    jobs = peers.jobs_of(omniglot, (1, 4), quick=False)
    threads: dict = {}
    for job in jobs:
        threads.setdefault((job.framework, job.variant), []).append(job.threads)
    assert threads.pop(("PyTorch", "two processes")) == [2]
    assert set(map(tuple, threads.values())) == {(1, 4)}
    assert {job.variant for job in jobs if job.double} == {
        "eager", "foreach", "channels last, fused", "vmap", "jit vmap", "jit map",
    }  # fmt: skip
    quick = peers.jobs_of(omniglot, (4,), quick=True)
    assert [(j.variant, j.double) for j in quick if j.framework != "minireptile"] == [
        ("eager", False), ("jit vmap", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quick", "threads", "cases", "numbers"),
    [(True, None, 2, (6,)), (False, None, 5, (1, 6)), (False, 1, 5, (1,)), (False, 3, 5, (1, 3))],
)
def test_every_case_is_measured(
    monkeypatch: pytest.MonkeyPatch, quick: bool, threads: int | None, cases: int, numbers: tuple
) -> None:
    asked: list = []
    monkeypatch.setattr(peers, "cores", lambda: 6)
    monkeypatch.setattr(peers, "jobs_of", lambda case, numbers, quick: [(case, numbers, quick)])

    def measured(*arguments: Any) -> list:
        asked.append(arguments)
        return [{"case": arguments[0]}]

    monkeypatch.setattr(peers, "measure", measured)
    rows = peers.run(7, quick, threads)
    assert [row["case"] for row in rows] == list(peers.VARIANTS)[:cases]
    for case, jobs, rounds, cache in asked:
        assert (jobs, rounds) == ([(case, numbers, quick)], 7)
        assert (cache is None) == quick


def test_what_a_child_prints_does_not_reach_the_answers() -> None:
    with child(
        "import bench.peers_case as p; from bench.peers_process import serve; build = p.build\n"
        "def loud(*a): print('{}', flush=True); return build(*a)\n"
        "p.build = loud; serve()"
    ) as process:
        assert process.ask(600)["first"] > 0
        assert process.ask(600, calls=1)["seconds"] > 0


def test_a_framework_that_is_absent_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = peers_process.Peer("no_such_package", "bench.peers_torch")
    monkeypatch.setitem(peers.PEERS, "PyTorch", absent)
    jobs = [j for j in peers.jobs_of(SINE, (1, 2), False) if j.framework == "PyTorch"]
    (row,) = measure(SINE, jobs, rounds=1)
    assert row["variant"] == "PyTorch"
    assert row["seconds"] is None
    assert row["note"] == "not installed: pip install no_such_package"


def test_a_variant_that_fails_has_a_row_and_the_others_go_on() -> None:
    jobs = [Job(SINE, "minireptile", name, 1) for name in ("abacus", "numpy")]
    failed, row = measure(SINE, jobs, rounds=1)
    assert failed["seconds"] is None
    assert failed["ratio"] is None
    assert failed["note"].startswith("InputError: there is no backend 'abacus'")
    assert row["ratio"] == 1


def test_a_child_that_dies_says_its_last_words() -> None:
    with (
        child("raise SystemExit('out of memory, say')") as process,
        pytest.raises(Failed, match="ended with code 1: out of memory, say"),
    ):
        process.ask(600)


def test_a_child_that_hangs_is_ended() -> None:
    with child("import time; time.sleep(600)") as process:
        with pytest.raises(Failed, match=r"no answer within 0\.1 s"):
            process.ask(0.1)
        assert process.process.returncode not in (None, 0)


def test_a_child_that_dies_between_turns_loses_its_turns_alone() -> None:
    healthy = "import sys\nfor line in sys.stdin: print('{\"seconds\": 1.0}', flush=True)"
    brief = "import sys; input(); print('{\"seconds\": 1.0}', flush=True)"
    with child(healthy) as one, child(brief) as two:
        jobs = [Job(SINE, "minireptile", name, 1) for name in ("healthy", "brief")]
        found = list(turns(dict(zip(jobs, (one, two), strict=True)), rounds=2))
    assert [(job.variant, isinstance(what, Failed)) for job, what in found] == [
        ("healthy", False),
        ("brief", True),
        ("healthy", False),
    ]


def test_a_wrong_backend_of_our_own_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(case: Case) -> np.ndarray:
        return case.theta + 1

    monkeypatch.setattr(peers, "reference", off)
    ours = Job(SINE, "minireptile", "numpy", 1)
    monkeypatch.setattr(peers, "jobs_of", lambda *_: [ours])
    monkeypatch.setattr(peers, "QUICK_CASES", (SINE,))
    with pytest.raises(Mismatch, match="minireptile numpy, 1 thread: theta is off"):
        peers.run(1, quick=True)
    (row,) = measure(SINE, [ours], rounds=1)
    assert row["failed"]
    assert row["seconds"] is None


@pytest.mark.parametrize(
    ("framework", "variant", "gpu", "reason", "failed"),
    [
        ("minireptile", "numpy", False, Mismatch("off"), True),
        ("minireptile", "numpy", False, Failed("gone"), False),
        ("minireptile", "cupy", True, Failed("gone"), True),
        ("minireptile", "cupy, TF32", True, Mismatch("off"), False),  # Adam may go another way
        ("PyTorch", "eager", True, Mismatch("off"), False),
    ],
)
def test_what_is_wrong_with_our_own_counts(
    monkeypatch: pytest.MonkeyPatch, framework: str, variant: str, gpu: bool, reason: Exception,
    failed: bool,
) -> None:  # fmt: skip
    def prepare(*_: Any) -> None:
        raise reason

    known(peers, monkeypatch, small_case(), {variant: ([], [])})
    monkeypatch.setattr(peers, "missing", lambda job: "")
    monkeypatch.setattr(peers, "prepare", prepare)
    (row,) = measure("known", [Job("known", framework, variant, 1, gpu=gpu)], rounds=1)
    assert (row["note"], row["failed"]) == (str(reason), failed)


@pytest.mark.parametrize(("name", "rounds", "threads"), [("rounds", 0, 1), ("threads", 1, 0)])
def test_numbers_below_one_are_wrong(name: str, rounds: int, threads: int) -> None:
    with pytest.raises(InputError, match=f"--{name} must be at least 1, not 0"):
        peers.run(rounds, quick=True, threads=threads)


def test_rows_have_names_of_their_own() -> None:
    for case in peers.VARIANTS:
        names = [str(job) for job in peers.jobs_of(case, (1, 2), quick=False)]
        assert len(set(names)) == len(names)


def test_ratios_and_summary_are_to_the_fastest_of_our_own() -> None:
    def row(framework: str, variant: str, seconds: float | None) -> dict:
        names = {"case": "c", "framework": framework, "variant": variant}
        return {**names, "seconds": seconds, "ratio": None}

    rows = [row("minireptile", "slow", 4), row("minireptile", "fast", 2), row("JAX", "other", 6),
            row("JAX", "jit", 3), row("PyTorch", "eager", None)]  # fmt: skip
    assert [r["ratio"] for r in peers.with_ratios(rows)] == [2, 1, 3, 1.5, None]
    assert peers.summary(rows) == "- c: jit takes 1.50 times as long as fast"


# ------------------------------------------------------------------- the frameworks, if installed


def variants(framework: str) -> list[str]:
    """All of its variants that are not compiled for minutes or in other processes."""
    names = {name for case in peers_process.VARIANTS.values() for name in case.get(framework, ())}
    return sorted(n for n in names if "compiled" not in n and n != peers_process.PROCESSES)


@pytest.mark.filterwarnings("default")  # theirs are not ours
@pytest.mark.parametrize(
    ("framework", "variant"), [(f, v) for f in ("PyTorch", "JAX") for v in variants(f)]
)
def test_a_framework_gives_the_reference_theta(framework: str, variant: str) -> None:
    pytest.importorskip(peers.PEERS[framework].package)
    build = import_module(peers.PEERS[framework].module).build
    for case in in_double(small_case()):
        built = build(case, variant, 1)
        check(variant, case, built.flat(built.run()), reference(case))
        check(variant, case, built.flat(built.run()), reference(case))  # a call leaves nothing


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("framework", "variant"), [("PyTorch", "eager"), ("JAX", "jit vmap")])
@pytest.mark.parametrize("wrong", ["rate", "order of the steps"])
def test_a_framework_that_does_something_else_is_found(
    framework: str, variant: str, wrong: str
) -> None:
    pytest.importorskip(peers.PEERS[framework].package)
    build = import_module(peers.PEERS[framework].module).build
    case = in_double(small_case())[0]
    if wrong == "rate":
        other = replace(case, optimizer=mr.SGD(0.0101))
    else:
        other = replace(case, x=case.x[:, ::-1], y=case.y[:, ::-1])
    built = build(other, variant, 1)
    with pytest.raises(Mismatch, match="theta is off by"):
        check(variant, case, built.flat(built.run()), reference(case))


@pytest.mark.filterwarnings("default")
def test_two_processes_give_the_reference_theta() -> None:
    pytest.importorskip("torch")
    build = import_module("bench.peers_torch").build
    case = in_double(small_case())[0]
    x, y = (np.repeat(a, 2, axis=2)[:, :, :3] for a in (case.x, case.y))  # three tasks
    case = replace(case, x=x, y=y)
    built = build(case, peers_process.PROCESSES, 1)
    for _ in range(2):
        check("two processes", case, built.flat(built.run()), reference(case))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("framework", ["PyTorch", "JAX", "Thinc"])
def test_a_framework_fits_the_sine_waves(framework: str) -> None:
    pytest.importorskip(peers.PEERS[framework].package)
    build = import_module(peers.PEERS[framework].module).build
    case = peers.CASES["sine 5x5x10"]()
    variant = peers_process.VARIANTS["sine 5x5x10"][framework][0]
    built = build(case, variant, 1)
    for _ in range(2):
        check(variant, case, built.flat(built.run()), reference(case))
    with pytest.raises(InputError, match="abacus"):
        build(case, "abacus", 1)


@pytest.mark.filterwarnings("default")
def test_jax_scans_over_meta_iterations() -> None:
    pytest.importorskip("jax")
    case = peers_case.case_of(peers_case.SINE, 7)
    built = import_module("bench.peers_jax").build(case, "jit scan")
    check("scan", case, built.flat(built.run()), reference(case))
