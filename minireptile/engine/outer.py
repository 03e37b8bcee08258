"""The loops of reptile.py on a GPU: an outer iteration is one graph, and the host feeds indices.

theta, the optimizer's shared state and the losses lie side by side in one vector on the device, of
which each `Snapshot` is a copy, brought to the host when somebody looks at it.
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..devices.base import Array, Device
from ..loops import Diverged, Loops, Snapshot, check_finite
from ..optim import Optimizer, State, spread
from ..plan import Plan
from ..tasks.base import Tasks
from ..tasks.images import FewShot
from .ahead import chunks
from .launches import check_memory, inner_loop, targets_of
from .walk import Walk

AHEAD_BYTES = 2**22  # indices, or data, that are drawn and uploaded at a time
AHEAD = 64  # iterations at most
NEVER = np.iinfo(np.int32).max


class Later(Snapshot):
    """A snapshot whose arrays are still on the device."""

    def __init__(self, iteration: int, read: Callable[[], tuple[NDArray, State, NDArray]]) -> None:
        object.__setattr__(self, "iteration", iteration)
        object.__setattr__(self, "_read", read)

    @cached_property
    def _arrays(self) -> tuple[NDArray, State, NDArray]:
        return self._read()  # type: ignore[attr-defined]

    @property
    def theta(self) -> NDArray:
        return self._arrays[0]

    @property
    def state(self) -> State:
        return self._arrays[1]

    @property
    def loss(self) -> NDArray:
        return self._arrays[2]


class Feed:
    """Mini-batches on the device, iteration by iteration.

    Of tasks over images, all images lie on the device and indices are sent; of others, the data.
    """

    def __init__(
        self, plan: Plan, device: Device, kernels: Any, tasks: Tasks, loops: Loops,
        dtype: np.dtype,
    ) -> None:  # fmt: skip
        self.device, self.k, self.dtype = device, kernels, dtype
        self.tasks, self.loops = tasks, loops
        k, T, B = loops.inner_steps, loops.meta_batch, loops.inner_batch
        self.by_index = isinstance(tasks, FewShot) and tasks.data.images.dtype == np.uint8
        shape, kind = targets_of(plan, k, T, B, dtype)
        self.x = device.upload(np.zeros((k, T, B, *plan.input_shape), dtype))
        self.y = device.upload(np.zeros(shape, kind))
        bytes_each = prod(shape) * 12 if self.by_index else prod(self.x.shape) * dtype.itemsize
        self.ahead = max(1, min(AHEAD, AHEAD_BYTES // bytes_each, loops.iterations))
        row = (k, T, B) if self.by_index else self.x.shape
        self.rows_x = device.upload(
            np.zeros((self.ahead, *row), np.int32 if self.by_index else dtype)
        )
        self.rows_y = device.upload(np.zeros((self.ahead, *shape), kind))
        self.epsilon = device.upload(np.zeros(self.ahead, dtype))
        self.clock = device.upload(np.zeros(2, np.int64))
        if self.by_index:
            self.images = device.upload(tasks.data.images)  # type: ignore[attr-defined]

    def rows(self, first: int) -> Iterator[tuple[NDArray, NDArray]]:
        """Mini-batches, or indices, and targets of some iterations at a time, to the end."""
        if self.by_index:
            yield from chunks(self.tasks, self.loops, first, self.ahead)  # type: ignore[arg-type]
            return
        for at in range(first, self.loops.iterations, self.ahead):
            its = range(at, min(at + self.ahead, self.loops.iterations))
            xs, ys = zip(*(self.loops.sample(self.tasks, it) for it in its), strict=True)
            yield np.stack(xs), np.stack(ys)

    def send(self, first: int, x: NDArray, y: NDArray) -> None:
        """Upload what the iterations from `first` need."""
        epsilon = [self.loops.epsilon_at(it) for it in range(first, first + len(x))]
        for there, rows in ((self.rows_x, x), (self.rows_y, y), (self.epsilon, np.array(epsilon))):
            self.device.write(there[: len(rows)], rows)
        self.device.write(self.clock, np.array([0, first]))

    def launch(self) -> None:
        """Fill x and y with the mini-batches of the iteration that the clock names."""
        if self.by_index:
            scale = self.tasks.data.scale  # type: ignore[attr-defined]
            self.k.gather(self.x, self.images, self.rows_x, self.clock, scale)
        else:
            self.k.take_row(self.x, self.rows_x, self.clock, self.dtype)
        self.k.take_row(self.y, self.rows_y, self.clock, self.dtype)


class OuterLoop:
    """The arrays of a run on the device, and an outer iteration to be replayed."""

    def __init__(
        self, plan: Plan, device: Device, kernels: Any, tasks: Tasks, optimizer: Optimizer,
        loops: Loops, start: Snapshot,
    ) -> None:  # fmt: skip
        self.device, self.optimizer, self.loops = device, optimizer, loops
        k, T, B, P = loops.inner_steps, loops.meta_batch, loops.inner_batch, plan.size
        dtype = start.theta.dtype
        check_memory(plan, device, k, T, B, dtype)
        self.k = kernels
        self.feed = Feed(plan, device, kernels, tasks, loops, dtype)
        parallel = loops.state != "carry"
        rows = T if parallel else 1  # tasks that run side by side

        self.moments = [name for name, array in start.state.items() if array.ndim]
        moments = [np.asarray(start.state[name]) for name in self.moments]
        parts = [start.theta, *moments, np.zeros(k * T, dtype)]
        self.vector = device.upload(np.concatenate(parts))  # theta, moments, losses
        self.parts = np.cumsum([len(part) for part in parts])[:-1]
        each = {"mean": k, "carry": k * T, "fresh": 0}[loops.state]
        self.taken = int(start.state.get("t", 0)) - each * start.iteration, each  # Adam's steps
        theta, *shared, loss = self._split(self.vector)
        self.shared = shared

        # What the tasks start from: the shared state, or nothing.
        of_task = spread(start.state, rows) if loops.state != "fresh" else {}
        of_task = of_task or optimizer.init(np.zeros((rows, P), dtype))
        self.state = {name: device.upload(array) for name, array in of_task.items()}
        self.zeros = device.upload(np.zeros(P, dtype))
        self.diverged = device.upload(np.full(1, NEVER, np.int32))
        phi, grad = (device.upload(np.zeros((T, P), dtype)) for _ in range(2))
        loss = loss.reshape(k, T)
        walk = Walk(plan, device, kernels, rows, B, dtype)
        x, y = self.feed.x, self.feed.y

        def iteration() -> None:
            self.feed.launch()
            self.k.spread(phi, theta)
            if parallel:
                self._hand_out()
                count = loops.state == "mean"
                inner_loop(walk, optimizer, phi, grad, x, y, loss, self.state, count)
            else:  # one task after another, and the state goes with them
                for t in range(T):
                    one = slice(t, t + 1)
                    inner_loop(
                        walk, optimizer, phi[one], grad[one], [x[i, one] for i in range(k)],
                        [y[i, one] for i in range(k)], [loss[i, one] for i in range(k)], self.state,
                    )  # fmt: skip
            self.k.merge(theta, phi, self.feed.epsilon, self.feed.clock, self.diverged)
            if loops.state != "fresh":
                for name, array in zip(self.moments, shared, strict=True):
                    self.k.merge(array, self.state[name], None, self.feed.clock, self.diverged)
            self.k.tick(self.feed.clock, dtype)

        self.replay = device.capture(iteration)
        self._restart(np.concatenate(parts), of_task)

    def run(self, start: int) -> Iterator[Snapshot]:
        """Every iteration from `start`, queued on the device as they are asked for."""
        it = start
        for x, y in self.feed.rows(start):
            with self.device.errors():
                self.feed.send(it, x, y)
            for _ in range(len(x)):
                with self.device.errors():
                    self.replay()
                    copy = self.device.copy(self.vector)
                it += 1
                yield Later(it, partial(self._read, it, copy))
        with self.device.errors():
            self._check()

    def _hand_out(self) -> None:
        """Each task's copy of the optimizer's state: the shared one, or zeros."""
        for name, array in self.state.items():
            if name != "t":
                fresh = self.loops.state == "fresh"
                one = self.zeros if fresh else self.shared[self.moments.index(name)]
                self.k.spread(array, one)

    def _restart(self, vector: NDArray, of_task: State) -> None:
        """Undo what recording did: it made the iteration."""
        self.device.write(self.vector, vector)
        self.device.write(self.diverged, np.full(1, NEVER, np.int32))
        for name, array in of_task.items():
            self.device.write(self.state[name], array)

    def _split(self, vector: Any) -> list[Array]:
        edges = [0, *map(int, self.parts), len(vector)]
        return [vector[a:b] for a, b in pairwise(edges)]

    def _read(self, iteration: int, copy: Array) -> tuple[NDArray, State, NDArray]:
        with self.device.errors():
            self._check()
            theta, *shared, loss = self._split(self.device.read(copy))
        state: State = dict(zip(self.moments, shared, strict=True))
        if "t" in self.state:
            before, each = self.taken
            state["t"] = np.asarray(before + each * iteration)
        loss = loss.reshape(self.loops.inner_steps, -1)
        check_finite(Snapshot(iteration, theta, state, loss))
        return theta, state, loss

    def _check(self) -> None:
        first = int(self.device.read(self.diverged)[0])
        if first != NEVER:
            raise Diverged(first)


def reptile(
    plan: Plan, device: Device, kernels: Any, tasks: Tasks, optimizer: Optimizer, loops: Loops,
    start: Snapshot,
) -> Iterator[Snapshot]:  # fmt: skip
    """Outer iterations from `start` to the end; see `minireptile.reptile.reptile`."""
    if start.iteration < loops.iterations:
        with device.errors():
            loop = OuterLoop(plan, device, kernels, tasks, optimizer, loops, start)
        yield from loop.run(start.iteration)
