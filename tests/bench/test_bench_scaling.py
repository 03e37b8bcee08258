"""Scaling: the model against a count by hand, and what is measured against a clock of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import results, scaling
from bench.settings import Setting
from minireptile import InputError
from minireptile.lots import split
from minireptile.runs.workers.base import ONE_THREAD
from tests.runs.made_up import replace

KNOWN = {
    "c": 2.0, "processes, fixed": 0.25, "processes, lot": 0.5, "Dask, fixed": 7.0,
    "Dask, lot": 3.0, "MPI, fixed": 0.125, "MPI, message": 1.5, "MPI, hop": 0.0625,
}  # fmt: skip
TINY = Setting(steps=1, batch=2, size=8, filters=2)


def counted(engine: str, tasks: int, workers: int) -> float:
    """The same, lot by lot and doubling by doubling."""
    lots = split(range(tasks), workers)
    total = KNOWN[f"{engine}, fixed"] + max(sum(2.0 for _ in lot) for lot in lots)
    if engine != "MPI":
        return total + sum(KNOWN[f"{engine}, lot"] for _ in lots)
    reached, total = 1, total + 1.5
    while reached < workers:  # a rank more for each that has it; up the tree and down again
        reached, total = 2 * reached, total + 0.0625 + 0.0625
    return total


def test_the_models_table_is_that_of_a_count() -> None:
    rows = scaling.model(KNOWN)
    places = [(row["case"], row["variant"], row["workers"]) for row in rows]
    assert len({*places}) == 3 * 3 * 6
    for row in rows:
        workers = row["workers"]
        tasks = {"model, T = W": workers, "model, T = 10 W": 10 * workers}.get(row["case"], 1000)
        assert row["tasks"] == tasks
        assert row["seconds"] == counted(row["variant"], tasks, workers)
        assert row["efficiency"] == pytest.approx(2 * tasks / workers / row["seconds"])


def test_the_constants_on_record_give_the_rows_on_record() -> None:
    rows = results.load(scaling.RESULTS)["rows"]
    kept = [row for row in rows if row["case"] == scaling.CONSTANTS]
    assert {row["variant"] for row in kept} == {*KNOWN}
    assert all("measured" in row["note"] or "assumed" in row["note"] for row in kept)
    assert all("assumed" in row["note"] for row in kept if row["variant"].startswith("MPI"))
    made = scaling.model({row["variant"]: row["seconds"] for row in kept})
    assert [row for row in rows if row["case"].startswith("model")] == made


def threads(patch: pytest.MonkeyPatch) -> None:
    """Workers that are here."""

    @contextmanager
    def here(workers: int) -> Iterator[Executor]:
        with ThreadPoolExecutor(workers) as executor:
            yield executor

    patch.setattr(scaling, "one_thread_each", here)


def test_strong_and_weak_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clock that says 8 s for one worker, 5 and 10 for two, and 4 and 8 for those alone."""
    threads(monkeypatch)
    said = [8.0, 8.0, 5.0, 4.0, 10.0, 8.0]
    turns, made = [*[99.0] * 6, *said, *said, *[2 * s for s in said]], []

    def clocked(call: Callable[[], Any]) -> float:
        made.append(call())
        return turns.pop(0)

    monkeypatch.setattr(scaling, "clocked", clocked)
    rows = scaling.measure(TINY, 3, (1, 2), "numpy")
    assert not turns
    assert [run.loss.shape[1] for run in made[::2]] == [8, 8, 16] * 4  # whole iterations
    assert [run.iteration for run in made[::2]] == [n for n in (1, 2, 3, 4) for _ in range(3)]
    assert [len(lots) for lots in made[1::2]] == [1, 2, 2] * 4
    one, two, weak = rows
    assert [(row["variant"], row["workers"], row["tasks"]) for row in rows] == [
        ("strong", 1, 8), ("strong", 2, 8), ("weak", 2, 16),
    ]  # fmt: skip
    assert [row["seconds"] for row in rows] == [8, 5, 10]
    assert (one["low"], one["high"]) == (8, 12)
    assert [row["efficiency"] for row in rows] == [1, 0.8, 0.8]
    assert [row["of_ideal"] for row in rows] == [1, 0.8, 0.8]
    assert two["case"] == weak["case"] == "measured, omniglot, numpy"


def test_a_worker_alone_adapts_to_its_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(scaling.mr, "adapt", lambda *call: asked.append(call))
    scaling.alone((TINY, "numpy"))
    ((model, phi, x, y, optimizer),) = asked
    assert (phi.shape, x.shape, y.shape) == ((5, model.size), (1, 5, 2, 8, 8, 1), (1, 5, 2))
    np.testing.assert_array_equal(phi, np.repeat(model.init(0)[None], 5, axis=0))
    assert optimizer == TINY.optimizer


def test_workers_have_one_thread_and_this_process_what_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_, unset = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    monkeypatch.setenv(set_, "3")
    monkeypatch.delenv(unset, raising=False)
    with scaling.one_thread_each(1) as executor:
        assert [*executor.map(os.getenv, ONE_THREAD)] == ["1"] * len(ONE_THREAD)
    assert (os.getenv(set_), os.getenv(unset)) == ("3", None)


def test_what_a_suite_has(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = replace(monkeypatch, scaling, "measure", lambda *_: [{"case": "m"}])
    monkeypatch.setattr(scaling, "cores", lambda: 4)
    monkeypatch.setattr(scaling, "describe", lambda: {"load": 2.0})
    rows = scaling.run(2, quick=True)
    assert [row["case"] for row in rows[:8]] == [scaling.CONSTANTS] * 8
    assert rows[8] == {"case": "m"}
    assert len(rows) == 8 + 1 + 54
    monkeypatch.setattr(scaling, "describe", lambda: {"load": 7.0})
    busy = scaling.run(2, quick=False, number=1)[8]["note"]
    assert busy == "beside other work: a load of 7 on 4 cores before it"
    assert measured == [(scaling.QUICK, 2, (1, 2)), (scaling.OMNIGLOT, 2, (1, 2, 4))]
    with pytest.raises(InputError, match="a worker has one thread here: leave --threads out"):
        scaling.run(2, True, 2)


def test_the_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved = replace(monkeypatch, scaling, "save_figure", lambda _, path: path)
    row = {"case": "measured, omniglot, numpy", "variant": "weak", "seconds": 1.0, "tasks": 8}
    measured = [
        {**row, "workers": w, "efficiency": 1 / w, "of_ideal": 0.5} for w in (1, 2)
    ]  # fmt: skip
    rows = scaling.model(KNOWN)
    assert scaling.draw([*rows, *measured], tmp_path, "here") == [tmp_path / "scaling.png"]
    ((picture, _),) = saved
    first, _, _, last = picture.axes
    processes, dask, mpi = first.get_lines()
    assert [line.get_label() for line in (processes, dask, mpi)] == ["processes", "Dask", "MPI"]
    of_mpi = [r for r in rows if r["variant"] == "MPI" and r["case"] == "model, T = W"]
    assert list(mpi.get_xdata()) == [r["workers"] for r in of_mpi]
    assert list(mpi.get_ydata()) == [r["efficiency"] for r in of_mpi]
    found, ideal = last.get_lines()
    assert (list(found.get_xdata()), list(found.get_ydata())) == ([1, 2], [1.0, 0.5])
    assert list(ideal.get_ydata()) == [2.0, 1.0]
