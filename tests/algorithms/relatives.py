"""Reptile and its relatives on tiny tasks, as the tests of each of them run them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from minireptile import SGD, Adam, Loops, Snapshot, fomaml, imaml, joint, maml, reptile
from minireptile.delegate import begin
from minireptile.optim import Optimizer
from tests.small import assert_same_state, tiny_model, tiny_tasks

TASKS = tiny_tasks()
ALL: dict[str, Callable[..., Any]] = {
    "reptile": reptile, "joint": joint, "fomaml": fomaml, "maml": maml, "imaml": imaml,
}  # fmt: skip
RELATIVES = {name: ALL[name] for name in ("fomaml", "maml", "imaml")}
OUTERS: dict[str, Optimizer] = {"sgd": SGD(0.7, 0.5, 0.99), "adam": Adam(0.01)}

every_relative = pytest.mark.parametrize("algorithm", RELATIVES.values(), ids=RELATIVES)
every_algorithm = pytest.mark.parametrize("algorithm", ALL.values(), ids=ALL)
every_outer = pytest.mark.parametrize("outer", [None, *OUTERS.values()], ids=["plain", *OUTERS])
every_tail = pytest.mark.parametrize("tail", ["shared", "separate"])


def small_loops(**changes: Any) -> Loops:
    """Four iterations on TASKS."""
    defaults = {"meta_batch": 3, "inner_steps": 3, "inner_batch": 4, "train_shots": 4, "seed": 11}
    return Loops(**{"iterations": 4, "tail_shots": 1, "prox": 5.0, **defaults, **changes})


def last(run: Any) -> Snapshot:
    """Where a run ends."""
    *_, end = run
    return end


def assert_continues(algorithm: Any, inner: Optimizer, loops: Loops) -> None:
    """From each of its snapshots a run goes on as if it had never stopped, bit for bit."""
    whole = list(algorithm(tiny_model(), TASKS, inner, loops))
    assert [run.iteration for run in whole] == list(range(1, loops.iterations + 1))
    for cut in range(loops.iterations + 1):
        start = whole[cut - 1] if cut else begin(tiny_model(), inner, loops)
        for array in (start.theta, *start.state.values()):
            array.setflags(write=False)
        rest = list(algorithm(tiny_model(), TASKS, inner, loops, start))
        for one, two in zip(whole[cut:], rest, strict=True):
            assert one.iteration == two.iteration
            assert one.theta.tobytes() == two.theta.tobytes()
            assert one.loss.tobytes() == two.loss.tobytes()
            assert_same_state(one.state, two.state)


def traced_peak(call: Callable[[], Any]) -> int:
    """Bytes that a call holds at its peak, when it is made for the second time."""
    call()
    tracemalloc.start()
    call()
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size
