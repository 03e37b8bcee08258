"""The outer loop of reptile.py in compiled calls, of many iterations each.

Tasks are drawn inside, where they are images by class or sine waves, by the words of the same
generator (kernels/draw_numba.py). Whether these are NumPy's tasks is looked at before a run begins:
if not, or for other tasks, the loop is taken as it is written.
"""

import warnings
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import program as p
from ..loops import Loops, Snapshot, check_finite
from ..optim import POLICIES, Optimizer, State, spread
from ..plan import Plan
from ..rng import Stream
from ..tasks.base import Tasks
from ..tasks.images import FewShot
from ..tasks.sine import GRID, Sine
from .memory import DTYPES, address, memory, numbers_of, told, update_of
from .program import Layout, compiled, has_update, program, work
from .threads import members_for, run

AHEAD = 64  # iterations of a call, at most;
AHEAD_BYTES = 2**22  # of theta and the state behind each of them;
AHEAD_PRODUCTS = 5 * 10**8  # and multiply-adds, so that a call takes a moment
MANY = 10_000  # of more things NumPy draws one in fifty in another way than draw_numba.py
WORD = 8  # bytes


class Source(NamedTuple):
    """Where a compiled call draws its tasks from."""

    draw: str  # the stage that draws one
    gather: str  # the stage that brings a mini-batch of it together, or ""
    vector: NDArray  # as kernels/program.py says
    kept: tuple[NDArray, ...]  # whose addresses are in it
    room: int  # words, beside the generator and what is drawn


def source_of(plan: Plan, tasks: Tasks, loops: Loops) -> Source | None:
    """None for other tasks than FewShot and Sine, and where the loop has something to say."""
    shot = loops.train_shots
    kept: tuple[NDArray, ...]
    if type(loops) is not Loops or plan.input_shape != tasks.input_shape:
        return None
    if (
        type(tasks) is FewShot
        and _drawn_alike(tasks, shot)
        and plan.loss == "softmax_cross_entropy"
    ):
        images, way = tasks.data.images, tasks.n_out
        starts, examples = np.ascontiguousarray(tasks.data.starts, np.int64), way * shot
        kept, room = (images, starts), 2 * examples + way + 3 * max(way, shot) + 2
        told = {
            p.BYTES: address(images), p.PIXELS: prod(plan.input_shape), p.WAY: way,
            p.CLASSES: len(tasks.data), p.STARTS: address(starts),
            p.RATIO: np.float64(tasks.data.scale).view(np.int64),
        }  # fmt: skip
        stages = "draw_images", "gather_images"
    elif type(tasks) is Sine and plan.loss == "squared_error" and shot <= len(GRID):
        kept, examples = (GRID,), shot
        room = loops.inner_steps * loops.inner_batch + len(GRID) + shot
        told = {p.POINTS: len(GRID), p.GRID: address(GRID)}
        stages = "draw_sine", ""
    else:
        return None
    if tasks.n_out > plan.n_out or (loops.replacement and loops.inner_batch > examples):
        return None
    vector = np.zeros(p.GRID + 1, np.int64)
    told |= {
        p.SEED: np.uint64(loops.seed).view(np.int64), p.STREAM: Stream.TRAIN, p.SHOT: shot,
        p.REPLACEMENT: loops.replacement,
    }  # fmt: skip
    vector[list(told)] = list(told.values())
    return Source(*stages, vector, kept, room)


def _drawn_alike(tasks: FewShot, shot: int) -> bool:
    """Whether there are images enough, bytes in order, and not so many that the compiled draw of
    some of them is not NumPy's."""
    images, counts = tasks.data.images, tasks.data.counts
    few = max(len(tasks.data), counts.max()) <= MANY
    plain = images.dtype == np.uint8 and images.flags.c_contiguous
    return bool(few and plain and counts.min() >= shot)


class OuterLoop:
    """The memory of a run, and what its calls are told."""

    def __init__(
        self, plan: Plan, l: Layout, source: Source, optimizer: Optimizer, loops: Loops,
        start: Snapshot,
    ) -> None:  # fmt: skip
        self.source, self.loops, self.dtype = source, loops, start.theta.dtype
        self.layout = l  # the calls read its tables, and the model may be gone before they end
        k, T, B, P = loops.inner_steps, loops.meta_batch, loops.inner_batch, plan.size
        item, carry = self.dtype.itemsize, loops.state == "carry"
        update = (*update_of(optimizer)[:2], source.gather)
        classes = plan.loss == "softmax_cross_entropy"
        self.program = program(l, update, classes, self.dtype)
        self.stages = {
            name: compiled(stage, self.dtype)
            for name, stage in (
                (p.DRAW, source.draw), (p.HAND_OUT, "hand_out_state"), (p.MERGE, "merge"),
            )
        }  # fmt: skip

        products, row = 3 * work(plan, B) * k * T, P * item * (1 + len(start.state))
        self.ahead = max(1, min(AHEAD, AHEAD_BYTES // row, AHEAD_PRODUCTS // max(1, products)))
        self.members = members_for(products * self.ahead, l.slices * (1 if carry else T))
        drawn = (p.DRAWN_X + 2 * k * B + source.room) * WORD
        data = B * prod(plan.input_shape) * item
        self.room = memory(l, self.members, P, self.dtype, False, drawn, data)
        self.told, self.fields, self.arrived = told(P, l, self.room, k, T, self.dtype)

        # Rows of the optimizer's state, which the calls fill from the shared one, or with zeros.
        fresh = loops.state == "fresh"
        rows = optimizer.init(np.zeros((T, P), self.dtype)) if fresh else spread(start.state, T)
        self.counts = rows.pop("t", None)
        steps = k * T if carry else k
        self.each = 0 if fresh or self.counts is None else steps  # counted in an iteration
        if self.counts is None:
            self.counts = np.zeros(T, np.int64)
        self.rows, self.shared = rows, [] if fresh else list(rows)
        self.adapted, self.numbers = np.empty((T, P), self.dtype), numbers_of(optimizer)
        x, y = (self.room.at[p.OWN_DRAWN] + WORD * (p.DRAWN_X + i * k * B) for i in range(2))
        data_at = {p.XS: x, p.X_STEP: B * item, p.YS: y, p.Y_STEP: B * item}
        if source.gather:
            data_at = {p.XS: self.room.at[p.OWN_DATA], p.YS: y, p.Y_STEP: B * WORD}
        first, second = _moments(rows)
        self.tell(
            data_at
            | {name: stage.address for name, stage in self.stages.items()}
            | {
                p.ADAPTED: address(self.adapted), p.MOMENTS_1: address(first),
                p.MOMENTS_2: address(second), p.COUNTS: address(self.counts),
                p.COUNTED: self.each > 0, p.WRITTEN: True, p.NUMBERS_AT: address(self.numbers),
                p.POLICY: POLICIES.index(loops.state), p.SOURCES: address(source.vector),
            }
        )  # fmt: skip

    def tell(self, told: dict[int, int]) -> None:
        self.told[list(told)] = list(told.values())

    def iterations(self, run: Snapshot) -> Iterator[Snapshot]:
        """All that follow a snapshot, some in each call."""
        while run.iteration < self.loops.iterations:
            snapshots = list(self.call(run))
            yield from snapshots if self.finite else map(check_finite, snapshots)
            run = snapshots[-1]

    def call(self, start: Snapshot) -> Iterator[Snapshot]:
        """So many iterations; whether all that came of them is finite is in `finite`."""
        first, n = start.iteration, min(self.ahead, self.loops.iterations - start.iteration)
        theta = np.empty((n + 1, start.theta.size), self.dtype)
        loss = np.empty((n, self.loops.inner_steps, self.loops.meta_batch), self.dtype)
        epsilon = np.array([self.loops.epsilon_at(it) for it in range(first, first + n)])
        shared = {name: np.empty_like(theta) for name in self.shared}
        theta[0] = start.theta
        for name, rows in shared.items():
            rows[0] = start.state[name]
        one, two = _moments(shared)
        self.tell({
            p.THETAS: address(theta), p.LOSSES: address(loss), p.EPSILONS: address(epsilon),
            p.SHARED_1: address(one), p.SHARED_2: address(two), p.ITERATIONS: n,
            p.FIRST_ITERATION: first,
        })  # fmt: skip
        arguments = self.program.code, self.told, self.fields, self.dtype.type(1), self.arrived
        run("adapt_numba", arguments, self.members)
        self.finite = all(np.isfinite(a).all() for a in (theta, loss, *shared.values()))
        for i in range(1, n + 1):
            state = start.state | {name: rows[i] for name, rows in shared.items()}
            if self.each:
                state["t"] = np.asarray(start.state["t"] + self.each * i)
            yield Snapshot(first + i, theta[i], state, loss[i - 1])

    def drawn(self, iteration: int, task: int) -> tuple[NDArray, NDArray]:
        """A task as the calls draw it, (k, B): numbers of images or inputs; labels or targets."""
        shape, told = (self.loops.inner_steps, self.loops.inner_batch), self.told.copy()
        fields, own = np.zeros(p.FIELDS, np.int64), self.room.rows[0, self.room.at[p.OWN_DRAWN] :]
        told[p.FIRST_ITERATION] = iteration
        fields[[p.DRAWN, p.SOURCE, p.TASK]] = address(own), address(self.source.vector), task
        draw = self.stages[p.DRAW].ctypes
        draw(*(a.ctypes.data_as(draw.argtypes[0]) for a in (told, fields)), 1)
        kind = np.dtype(np.int64) if self.source.gather else self.dtype
        starts = (WORD * (p.DRAWN_X + i * prod(shape)) for i in range(2))
        x, y = (own[at : at + prod(shape) * kind.itemsize].view(kind) for at in starts)
        return x.reshape(shape).copy(), y.reshape(shape).copy()

    def draws_the_same(self, tasks: Tasks, iteration: int) -> bool:
        """Whether the tasks of an iteration are those that NumPy draws."""
        if isinstance(tasks, FewShot):
            x, y = self.loops.sample_indices(tasks, iteration)
        else:
            x, y = (a[..., 0].astype(self.dtype) for a in self.loops.sample(tasks, iteration))
        found = [self.drawn(iteration, t) for t in range(self.loops.meta_batch)]
        return all(
            np.array_equal(mine, drawn[:, t])
            for t, pair in enumerate(found)
            for mine, drawn in zip(pair, (x, y), strict=True)
        )


def _moments(arrays: State) -> tuple[NDArray | None, NDArray | None]:
    """The first and the second moment, where there are any."""
    return arrays.get("m", arrays.get("velocity")), arrays.get("v")


def reptile(
    plan: Plan, l: Layout, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot
) -> Iterator[Snapshot]:
    """Outer iterations from `start` to the end; see `minireptile.reptile.reptile`."""
    over = start.iteration >= loops.iterations or start.theta.dtype not in DTYPES
    source = None if over or loops.outer else source_of(plan, tasks, loops)
    if source is None or not has_update(optimizer.operation):
        return NotImplemented
    loop = OuterLoop(plan, l, source, optimizer, loops, start)
    if not loop.draws_the_same(tasks, start.iteration):
        warnings.warn(
            f"NumPy {np.__version__} draws tasks otherwise than the compiled outer loop does, so "
            "the loop is taken as it is written, which is slower",
            stacklevel=4,
        )
        return NotImplemented
    return loop.iterations(start)
