"""Runs with workers: the same bits, whoever computes, and whoever is lost; nobody left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import minireptile as mr
from minireptile.algorithms import ALGORITHMS
from minireptile.backend import why_not
from minireptile.cli import main
from minireptile.errors import InputError
from minireptile.lots import Sent
from minireptile.runs import run
from minireptile.runs.settings import Settings
from minireptile.runs.workers import Pool, base, check, workers
from minireptile.runs.workers import kind as kinds
from minireptile.runs.workers.processes import Processes
from minireptile.tasks.images import Splits
from tests.small import tiny_classes, tiny_model

from .run_helpers import assert_same_run, fails, small_run, wait_for_lines
from .worker_helpers import Fatal, all_ended, assert_same_folder, in_group, python

SETTINGS = Settings(
    dataset="sine", network="sine", backend="numpy", iterations=4, meta_batch=5, inner_steps=2,
    inner_batch=5, optimizer="adam", beta1=0.5, inner_lr=0.004, shot=5, eval_steps=2,
    eval_batch=5, eval_every=2, eval_tasks=3, test_tasks=40, prox=20.0, cg_steps=2,
    outer="adam", state="mean",
)  # fmt: skip
LOOPS = mr.Loops(3, meta_batch=5, inner_steps=2)
EVALUATED = ["evaluate", "--tasks", "70", "--seed", "5", "--json"]


@pytest.fixture(scope="module", params=["2", "3"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with workers(request.param) as pool:
        assert pool
        yield pool


def same_with(pool: Pool, s: Settings, folder: Path) -> None:
    run.train(s, folder / "one")
    run.train(s, folder / "many", pool=pool)
    assert_same_folder(folder / "many", folder / "one", s)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("policy", ["mean", "fresh"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_has_the_same_bits(
    pool: Pool, tmp_path: Path, algorithm: str, policy: str
) -> None:  # fmt: skip
    inner = "sgd" if algorithm == "maml" else "adam"
    s = replace(SETTINGS, algorithm=algorithm, state=policy, optimizer=inner)
    same_with(pool, s, tmp_path)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_on_images_has_the_same_bits(pool: Pool, tiny: Splits, tmp_path: Path) -> None:
    images = replace(
        SETTINGS, dataset="glyphs", network="omniglot", filters=3, way=2, shot=1, test_tasks=5,
        iterations=2,
    )  # fmt: skip
    same_with(pool, images, tmp_path)


@pytest.mark.skipif(bool(why_not("numba")), reason=why_not("numba"))
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.long
def test_compiled_kernels_have_the_same_bits(tmp_path: Path) -> None:
    with workers("2") as pool:
        assert pool
        same_with(
            pool, replace(SETTINGS, backend="numba", optimizer="sgd", outer="plain"), tmp_path
        )


@pytest.mark.usefixtures("no_pictures")
def test_the_command_line_resumes_and_evaluates_with_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(small_run(12, one)) == 0
    assert main([*small_run(12, two), "--workers", "2"]) == 0
    assert_same_run(one, two)
    for folder, own in ((one, []), (two, ["--workers", "3"])):
        assert main(["resume", str(folder), "--iterations", "15", *own]) == 0
    said = capsys.readouterr().err
    assert said == "an iteration has 2 tasks: of 3 workers, 2 are of use in it\n"
    assert_same_run(one, two)
    found = []
    for own in ([], ["--workers", "3"]):
        assert main([EVALUATED[0], str(one), *EVALUATED[1:], *own]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["tasks"] == 70


UNTESTED = ["--test-tasks", "0"]


def trained(tasks: mr.Sine, pool: Pool | None) -> list[bytes]:
    model = mr.sine_mlp(6)
    runs = mr.reptile(model, tasks, mr.SGD(0.01), LOOPS, map=pool)
    return [snapshot.theta.tobytes() for snapshot in runs]


def test_what_a_killed_worker_had_is_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bits; said once. One that kills whoever takes it ends the run."""
    with workers("2") as pool:
        assert trained(Fatal(tmp_path, 2), pool) == trained(mr.Sine(), None)
        assert not [*tmp_path.iterdir()]
        assert capsys.readouterr().err == "a worker was lost; its tasks are computed again\n"
        with pytest.raises(mr.InputError, match=r"lost 4 times .* lower --workers or --meta-batch"):
            trained(Fatal(tmp_path, 40), pool)
        assert trained(mr.Sine(), pool) == trained(mr.Sine(), None)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted in /proc")
@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGINT,
        *(pytest.param(s, marks=pytest.mark.long) for s in (signal.SIGTERM, signal.SIGKILL)),
    ],
)
def test_a_signal_leaves_a_run_to_go_on_with_and_no_process(
    tmp_path: Path, signum: signal.Signals
) -> None:
    """Ctrl-C reaches all of them, as in a terminal; the others, the first alone."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main([*small_run(300, whole), *UNTESTED]) == 0
    process = python("-m", "minireptile", *small_run(300, folder), *UNTESTED, "--workers", "2")
    wait_for_lines(folder, 5, process)
    assert len(in_group(process.pid)) >= 3
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    out, errors = process.communicate()
    assert "Traceback" not in errors
    assert all_ended(process.pid)
    if signum != signal.SIGKILL:
        assert process.returncode == 128 + signum
        assert "and saved: continue with resume" in out
    assert main(["resume", str(folder), "--workers", "2"]) == 0
    assert_same_run(folder, whole)


# ------------------------------------------------------------------------------ what can be wrong


@pytest.mark.parametrize("spec", ["0", "-1", "two", "1.5", "", "dask:127.0.0.1"])
def test_what_names_no_workers(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"--workers must be a number of processes, dask://HOST:PORT, or mpi, not {spec!r}"
    fails(capsys, ["train", "sine", f"--workers={spec}"], words)


@pytest.mark.parametrize("size", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_mpiexec_without_its_ranks(
    size: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of its processes would do everything; and a wrong option is said once."""
    monkeypatch.setenv(size.replace("SIZE", "RANK"), "0")
    monkeypatch.setenv(size, "3")
    words = "mpiexec has started 3 of this process, each of which would do all of it: add --workers"
    for more in ([], ["--workers", "2"], ["--workers", "dask://127.0.0.1:1"]):
        fails(capsys, ["train", "sine", *more], words)
    fails(capsys, ["train", "sine", "--shots", "2"], "--shots")
    monkeypatch.setenv(size.replace("SIZE", "RANK"), "1")
    assert main(["train", "sine", "--shots", "2"]) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(size, "1")
    with workers(None) as pool:
        assert pool is None


def test_what_one_process_has_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    carried = ["train", "sine", "--state", "carry", "--backend", "numpy", "--workers", "2"]
    fails(capsys, [*carried, "--out", str(tmp_path / "run")], "train with --state mean, or leave")
    assert not [*tmp_path.iterdir()]
    with workers("8") as pool:
        carry = replace(SETTINGS, state="carry")
        assert check(carry, pool, training=False) == ""
        assert check(carry, None) == ""
        joint = replace(carry, algorithm="joint", meta_batch=3)
        assert check(joint, pool) == "an iteration has 6 tasks: of 8 workers, 6 are of use in it"
        assert check(replace(joint, meta_batch=4), pool) == ""
        with pytest.raises(mr.InputError, match="cupy on a GPU each, and not with numba-cuda"):
            check(replace(SETTINGS, backend="numba-cuda"), pool, training=False)
        on_gpus = replace(SETTINGS, backend="cupy")
        assert check(on_gpus, pool, training=False) == ""
        dask: Any = SimpleNamespace(count=3, threads={"tcp://one": 1, "tcp://two": 2})
        with pytest.raises(mr.InputError, match="start dask worker with --nthreads 1"):
            check(on_gpus, dask)


def of_workers(spec: str) -> str:
    try:
        with workers(spec):
            return "workers"
    except mr.InputError as error:
        return str(error)


def test_a_worker_has_none_of_its_own() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as inside:
        assert inside.submit(of_workers, "2").result().startswith("a worker cannot have workers")


def test_more_processes_than_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    name = "minireptile.runs.workers.processes.Worker"
    monkeypatch.setattr(name, refused)
    with pytest.raises(mr.InputError, match=r"cannot start 9 processes .*: lower --workers"):
        trained(mr.Sine(), Processes(9))


def test_what_a_worker_finds_wrong_is_said_here(pool: Pool) -> None:
    """And the workers go on."""
    tasks = mr.FewShot(tiny_classes(6, 4), 3)
    with pytest.raises(mr.InputError, match="4"):
        list(mr.reptile(tiny_model(), tasks, mr.SGD(0.01), LOOPS, map=pool))
    assert trained(mr.Sine(), pool) == trained(mr.Sine(), None)


@pytest.mark.parametrize(("what", "ends"), [*((w, True) for w in kinds.ONE), ("processor", False)])
def test_workers_of_another_kind(what: str, ends: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Other packages end it; another processor is said."""
    same, other = kinds.kind(), {**kinds.kind(), what: "another"}
    kinds.compare({"a": same})
    assert capsys.readouterr().err == ""
    if ends:
        with pytest.raises(mr.InputError, match=f"the worker b has {what} another, and this"):
            kinds.compare({"a": same, "b": other})
    else:
        kinds.compare({"a": same, "b": other})
        said = capsys.readouterr().err
        assert said.startswith("the worker b has another processor (another, here ")


def test_a_hash_of_the_sources_knows_every_file(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    inside, behind = tmp_path / "package" / "a.py", tmp_path / "beside"
    behind.mkdir()
    (tmp_path / "package" / "kernels").symlink_to(behind, target_is_directory=True)
    found = [kinds.sources(tmp_path / "package")]
    for path, text in [(path, text) for path in (inside, behind / "k.py") for text in "12"]:
        path.write_text(text)
        found.append(kinds.sources(tmp_path / "package"))
    assert len(set(found)) == len(found)
    (behind / "k.md").write_text("no Python")
    assert kinds.sources(tmp_path / "package") == found[-1]


@pytest.mark.parametrize(
    ("spec", "file", "address"),
    [("dask://h:1", None, "tcp://h:1"), (None, "scheduler.json", "")],
)
def test_a_cluster_is_named_by_its_address_or_its_file(
    spec: str | None, file: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple] = []
    cluster = SimpleNamespace(close=lambda: None)

    def made(*given: Any) -> Any:
        asked.append(given)
        return cluster

    monkeypatch.setattr("minireptile.runs.workers.dask.Cluster", made)
    path = Path(file) if file else None
    with workers(spec, path) as pool:
        assert pool is cluster
    assert asked == [(address, path)]
    with pytest.raises(mr.InputError, match="both name workers"), workers("2", Path("s.json")):
        pass


@pytest.mark.parametrize(
    ("package", "spec", "extra"), [("distributed", "dask://h:1", "dask"), ("mpi4py", "mpi", "mpi")]
)
def test_packages_that_are_missing(
    package: str, spec: str, extra: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    fails(capsys, ["train", "sine", "--workers", spec], f'install -e ".[{extra}]"')


def test_what_goes_to_a_worker_arrives() -> None:
    sent = base.unpacked(base.packed(Sent((dict, {"model": 1}))))
    assert sent.parts == (dict, {"model": 1})
    seen = Sent((lambda model, which, **changes: (model, which, changes), "a model"))
    assert base.compute(seen, {"theta": 2}, range(3)) == ("a model", range(3), {"theta": 2})


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_of_dask_with_a_gpu_has_one_thread(threads: int) -> None:
    pool: Any = SimpleNamespace(threads={"one": 1, "two": threads}, count=2)
    s = replace(SETTINGS, dataset="glyphs", network="omniglot", backend="cupy")
    if threads == 1:
        check(s, pool, training=False)
        return
    with pytest.raises(mr.InputError) as error:
        check(s, pool, training=False)
    assert str(error.value) == (
        "a worker of Dask with several threads has one GPU, which computes one thing at a time: "
        "start dask worker with --nthreads 1, and CUDA_VISIBLE_DEVICES for its card"
    )


def test_a_lot_that_is_computed_forgives_the_losses_before(capsys: Any) -> None:
    losses = base.Losses()
    for _ in range(2):
        losses.none()
        for _ in range(base.LOSSES):
            losses.another("buy more memory")
    assert capsys.readouterr().err.count("a worker was lost") == 1
    with pytest.raises(InputError, match=rf"lost {base.LOSSES + 1} times .*: buy more memory$"):
        losses.another("buy more memory")


@pytest.mark.parametrize(
    ("said", "found"),
    [({}, (0, 1)), ({"PMI_RANK": "1", "PMI_SIZE": "3"}, (1, 3)), ({"PMI_RANK": "1"}, (0, 1)),
     ({"PMI_RANK": "x", "PMI_SIZE": "3"}, (0, 1)),
     ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, (2, 4))],
)  # fmt: skip
def test_who_mpiexec_started(
    said: dict[str, str], found: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert base.launched() == found
