"""Workers of Dask and ranks of MPI: the same bits, and what can be wrong on the way to them. Both
are real here, on this machine; make workers-test installs them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import minireptile as mr
from minireptile.cli import main
from minireptile.runs import run
from minireptile.runs.folder import METRICS
from minireptile.runs.workers import dask as by_dask
from minireptile.runs.workers import kind as kinds
from minireptile.runs.workers import workers

from .run_helpers import assert_same_run, fails, small_run, wait_for_lines
from .test_workers import SETTINGS, UNTESTED, same_with, trained
from .worker_helpers import Fatal, all_ended, dask, in_group, python

BIN = str(Path(sys.executable).parent)
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([BIN, os.environ.get("PATH", "")]))
needs_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="no Dask here")
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None, reason="no mpi4py here, or no mpiexec"
)
# What Dask leaves to the garbage collector at its end.
at_its_end = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of a scheduler with two workers."""
    with dask(tmp_path_factory.mktemp("dask")) as (file, _):
        yield file


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer is not waited for."""
    monkeypatch.setattr(by_dask, "PATIENCE", 2)


@needs_dask
@at_its_end
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("algorithm", ["reptile", "imaml", "joint"])
def test_dask_gives_the_same_bits(scheduler: Path, tmp_path: Path, algorithm: str) -> None:
    with workers(scheduler=scheduler) as pool:
        assert pool
        same_with(pool, replace(SETTINGS, algorithm=algorithm), tmp_path)


@needs_dask
@at_its_end
def test_what_a_killed_worker_of_dask_had_is_computed_again(tmp_path: Path) -> None:
    """By Dask; a lot that ends whoever takes it ends the run, and not the scheduler."""
    for name in ("dask", "fatal"):
        (tmp_path / name).mkdir()
    with dask(tmp_path / "dask") as (file, _), workers(scheduler=file) as pool:
        assert trained(Fatal(tmp_path / "fatal", 1), pool) == trained(mr.Sine(), None)
        assert not [*(tmp_path / "fatal").iterdir()]
        with pytest.raises(mr.InputError, match=r"ended every worker|workers were lost 4 times"):
            trained(Fatal(tmp_path / "fatal", 400), pool)


@needs_dask
@at_its_end
def test_dask_on_the_command_line_and_a_scheduler_that_vanishes(tmp_path: Path) -> None:
    """One sentence, and the run goes on without."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main([*small_run(300, whole), *UNTESTED]) == 0
    with dask(tmp_path) as (file, (scheduler, *_)):
        arguments = [*small_run(300, folder), *UNTESTED, "--scheduler", str(file)]
        process = python("-m", "minireptile", *arguments)
        wait_for_lines(folder, 5, process)
        for pid in in_group(scheduler.pid):
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert errors.splitlines()[-1].startswith(f"minireptile: the scheduler at {file} is gone")
    assert "Traceback" not in errors
    assert main(["resume", str(folder)]) == 0
    assert_same_run(folder, whole)


@needs_dask
@at_its_end
@pytest.mark.usefixtures("hasty")
def test_schedulers_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    sine = ["train", "sine", "--out", str(tmp_path / "run")]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # as behind a firewall
        port = silent.getsockname()[1]
        for address in (f"127.0.0.1:{port}", "127.0.0.1:1", "no-such-host.invalid:8786"):
            words = f"no scheduler of Dask answers at tcp://{address} in 2 seconds"
            fails(capsys, [*sine, "--workers", f"dask://{address}"], words)
    fails(capsys, [*sine, "--scheduler", str(tmp_path / "none")], "there is no scheduler's file")
    both = [*sine, "--scheduler", str(tmp_path), "--workers", "dask://a:1"]
    fails(capsys, both, "--workers and --scheduler both name workers: choose one")
    with dask(tmp_path, workers=0) as (file, _):
        fails(capsys, [*sine, "--scheduler", str(file)], "has no workers: start some with")
    assert not (tmp_path / "run").exists()


@needs_dask
@at_its_end
def test_dasks_workers_of_another_version(
    scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    other = {**kinds.kind(), "numpy": "1.0"}
    monkeypatch.setattr(kinds, "kind", lambda: other)
    wrong = r"the worker tcp://.* has numpy .* this process 1\.0"
    with pytest.raises(mr.InputError, match=wrong), workers(scheduler=scheduler):
        pass


# ------------------------------------------------------------------------------------------ MPI


def mpi(ranks: int, *arguments: str) -> list[str]:
    """The arguments of Python that start so many ranks."""
    code = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-m", "minireptile"]
    return ["-c", code, *command, *arguments, "--workers", "mpi"]


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_give_the_same_bits(tmp_path: Path, ranks: int) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    assert main(small_run(20, one)) == 0
    process = python(*mpi(ranks, *small_run(20, many)))
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out.count("training the baseline") == 1
    assert_same_run(one, many)
    text = [(folder / METRICS).read_text().splitlines() for folder in (one, many)]
    assert [line for line in text[0] if "test" in line] == [li for li in text[1] if "test" in li]


@needs_mpi
def test_what_the_first_rank_finds_wrong_ends_all(tmp_path: Path) -> None:
    carry = [*small_run(20, tmp_path), "--state", "carry"]
    process = python(*mpi(3, *carry))
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.count("minireptile: --state carry") == 1
    assert all_ended(process.pid)


@needs_mpi
def test_mpi_without_mpiexec() -> None:
    alone = ["-m", "minireptile", "train", "sine", "--workers", "mpi"]
    for command in (alone, mpi(1, "train", "sine")):
        process = python(*command)
        _, errors = process.communicate()
        assert process.returncode == 2
        assert errors.startswith("minireptile: --workers mpi is for mpiexec, and this process is")


@needs_mpi
def test_a_rank_that_is_killed_ends_all_and_the_run_goes_on(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main([*small_run(300, whole), *UNTESTED]) == 0
    process = python(*mpi(3, *small_run(300, folder), *UNTESTED))
    wait_for_lines(folder, 5, process)
    for child in Path("/proc").glob("[0-9]*"):
        try:
            rank = b"PMI_RANK=2\0" in (child / "environ").read_bytes()
            ours = str(folder).encode() in (child / "cmdline").read_bytes()
        except OSError:
            continue
        if rank and ours:
            os.kill(int(child.name), signal.SIGKILL)
    process.communicate()
    assert process.returncode
    assert all_ended(process.pid)
    assert main(["resume", str(folder)]) == 0
    assert_same_run(folder, whole)


@needs_mpi
def test_ctrl_c_under_mpi_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = python(*mpi(2, *small_run(10_000, folder), *UNTESTED))
    wait_for_lines(folder, 5, process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert all_ended(process.pid)
    assert run.load(folder)[1].iteration >= 0
