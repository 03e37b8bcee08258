"""Ranks of MPI: the first runs the program, and every rank computes lots, the first among them."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import count
from typing import Any

from ...devices import cupy
from ...errors import InputError, require
from ...lots import Job, Sent
from .base import Known, compute, hold_to_one_thread, packed, unpacked
from .kind import compare, kind


class Ranks:
    """A map over the ranks that mpiexec started. Where one is lost, MPI ends them all: `resume`
    goes on from the last checkpoint."""

    def __init__(self) -> None:
        hold_to_one_thread()
        self.world = _world()
        self.count = self.world.Get_size()
        if self.count == 1:
            raise InputError(
                "--workers mpi is for mpiexec, and this process is alone: mpiexec -n 4 python -m "
                "minireptile train ... --workers mpi"
            )
        cupy.rank = self.world.Split_type(import_module("mpi4py.MPI").COMM_TYPE_SHARED).Get_rank()
        self.owed: list[int] = []  # the ranks whose answers are on their way, in their order
        self.numbers = count()
        if self.world.Get_rank():
            serve(self.world)
            sys.exit(0)
        self.known = Known(self._tell)
        try:
            kinds = [self.world.recv(source=rank) for rank in range(1, self.count)]
            compare({f"of rank {rank}": each for rank, each in enumerate(kinds, 1)})
        except BaseException:
            self.close()
            raise

    def _tell(self, sent: Sent) -> tuple[int, Sent]:
        number, parts = next(self.numbers), packed(sent)
        for rank in range(1, self.count):
            self.world.send(("parts", number, parts), rank)
        return number, sent

    def __call__(self, job: Callable[[range], Any], lots: Iterable[range]) -> Iterator[Any]:
        """What the job gives for each lot, in the order of the lots. Rank r computes every lot of
        number r, r + count, ..."""
        assert isinstance(job, Job)
        lots = [*lots]
        self._drain()
        number, sent = self.known(job.sent)
        for rank in range(1, min(self.count, len(lots))):
            own = lots[rank :: self.count]
            self.world.send(("lots", number, (job.changes, own)), rank)
        self.owed = [i % self.count for i in range(len(lots)) if i % self.count]
        for i, lot in enumerate(lots):
            if i % self.count == 0:
                yield compute(sent, job.changes, lot)
                continue
            found = self.world.recv(source=self.owed.pop(0))
            if isinstance(found, Exception):
                raise found
            yield found

    def _drain(self) -> None:
        """Take what nobody waits for any more: a rank cannot end before it is taken."""
        while self.owed:
            self.world.recv(source=self.owed.pop(0))

    def close(self) -> None:
        """End the other ranks."""
        self._drain()
        for rank in range(1, self.count):
            self.world.send(None, rank)


def _world() -> Any:
    require("mpi4py", "mpi")
    try:
        return import_module("mpi4py.MPI").COMM_WORLD
    except (ImportError, RuntimeError) as error:  # mpi4py itself is there
        raise InputError(
            f"mpi4py finds no library of MPI ({error}): install MPICH or Open MPI, or pip install "
            "mpich"
        ) from error


def serve(world: Any) -> None:
    """What every rank but the first does: lots, until the first has no more. It is for the first to
    save the run when a signal comes."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    known: dict[int, Sent] = {}
    world.send(kind(), 0)
    while message := world.recv(source=0):
        what, number, content = message
        if what == "parts":
            known.pop(number - 4, None)
            try:
                known[number] = unpacked(content)
            except Exception as error:  # told with the first lot
                known[number] = Sent((_fails, error))
            continue
        changes, lots = content
        for lot in lots:
            try:
                world.send(compute(known[number], changes, lot), 0)
            except Exception as error:
                world.send(error, 0)


def _fails(error: Exception, lot: range, **changes: Any) -> None:
    raise error
