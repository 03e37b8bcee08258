"""bench.peers: what is checked before it is timed, the processes, and each installed framework."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module

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
    wanted = case.theta + 0.5 * ((phis[0] + phis[1]) / 2 - case.theta)
    np.testing.assert_allclose(reference(case), wanted, rtol=1e-12)


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


@pytest.mark.parametrize(("name", "counted"), [("conv1.bias", False), ("dense1.bias", True)])
def test_only_biases_under_batch_norm_do_not_count(name: str, counted: bool) -> None:
    case = small_case()
    wanted = reference(case)
    theta = wanted.copy()
    case.model.unflatten(theta)[name][...] += 1
    assert (peers_case.difference(case, theta, wanted) > 0) == counted


def test_an_update_that_is_wrong_by_half_does_not_pass_in_single_precision() -> None:
    case = peers.CASES[str(peers_case.OMNIGLOT)]()
    wanted = (case.theta + np.random.default_rng(0).standard_normal(len(case.theta))).astype("f4")
    check("right", case, wanted, wanted)
    with pytest.raises(Mismatch):
        check("half", case, (case.theta + wanted) / 2, wanted)


# --------------------------------------------------------------------------------- the processes


def test_numpy_backend_in_a_process_of_its_own() -> None:
    (row,) = measure(SINE, [Job(SINE, "minireptile", "numpy", 1)], rounds=2)
    assert row["variant"] == "minireptile numpy, 1 thread"
    assert 0 < row["low"] <= row["seconds"] <= row["high"]
    assert row["first_seconds"] > 0
    assert row["ratio"] == 1
    assert row["difference"] < 1e-6
    assert row["note"] == ""


def test_what_a_child_prints_does_not_reach_the_answers() -> None:
    with child(
        "import bench.peers_case as p; from bench.peers_process import serve; build = p.build\n"
        "def loud(*a): print('{}', flush=True); return build(*a)\n"
        "p.build = loud; serve()"
    ) as process:
        assert process.ask(60)["first"] > 0
        assert process.ask(60, calls=1)["seconds"] > 0


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
        process.ask(60)


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
    with pytest.raises(Mismatch, match="minireptile numpy, 1 thread: theta is off"):
        measure(SINE, [Job(SINE, "minireptile", "numpy", 1)], rounds=1)


@pytest.mark.parametrize(("name", "rounds", "threads"), [("rounds", 0, 1), ("threads", 1, 0)])
def test_numbers_below_one_are_wrong(name: str, rounds: int, threads: int) -> None:
    with pytest.raises(InputError, match=f"--{name} must be at least 1, not 0"):
        peers.run(rounds, quick=True, threads=threads)


def test_rows_have_names_of_their_own() -> None:
    for case in peers.CASES:
        names = [str(job) for job in peers.jobs_of(case, (1, 2), quick=False)]
        assert len(set(names)) == len(names)


def test_ratios_and_summary_are_to_the_fastest_of_our_own() -> None:
    def row(framework: str, variant: str, seconds: float | None) -> dict:
        names = {"case": "c", "framework": framework, "variant": variant}
        return {**names, "seconds": seconds, "ratio": None}

    rows = [row("minireptile", "slow", 4), row("minireptile", "fast", 2), row("JAX", "jit", 3),
            row("JAX", "other", 6), row("PyTorch", "eager", None)]  # fmt: skip
    assert [r["ratio"] for r in peers.with_ratios(rows)] == [2, 1, 1.5, 3, None]
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
@pytest.mark.parametrize("framework", ["PyTorch", "JAX", "Thinc"])
def test_a_framework_fits_the_sine_waves(framework: str) -> None:
    pytest.importorskip(peers.PEERS[framework].package)
    build = import_module(peers.PEERS[framework].module).build
    case = peers.CASES["sine 5x5x10"]()
    variant = peers_process.VARIANTS["sine 5x5x10"][framework][0]
    built = build(case, variant, 1)
    for _ in range(2):
        assert check(variant, case, built.flat(built.run()), reference(case)) < 1e-4
    with pytest.raises(InputError, match="abacus"):
        build(case, "abacus", 1)


@pytest.mark.filterwarnings("default")
def test_jax_scans_over_meta_iterations() -> None:
    pytest.importorskip("jax")
    case = peers_case.case_of(peers_case.SINE, 7)
    built = import_module("bench.peers_jax").build(case, "jit scan")
    check("scan", case, built.flat(built.run()), reference(case))
