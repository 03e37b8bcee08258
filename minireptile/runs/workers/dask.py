"""Workers of Dask, on any machines. It runs code that comes over the network: among trusted
machines only."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import lru_cache
from importlib import import_module
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from ...errors import InputError, require
from ...lots import Job
from .base import Known, Losses, compute, hold_to_one_thread, packed, unpacked
from .kind import compare, kind

PATIENCE = 10  # seconds, for who does not answer: a firewall says nothing


class Cluster:
    """A map over the workers of a scheduler. Dask itself computes a lost worker's lots again."""

    def __init__(self, address: str, file: Path | None = None) -> None:
        self.dask: Any = require("distributed", "dask")
        self.name = str(file or address)
        if file and not file.is_file():
            raise InputError(f"there is no scheduler's file {file}: dask scheduler writes it")
        # What goes wrong is said in a sentence, and not in pages of a log.
        for log in [name for name in logging.root.manager.loggerDict if "distributed" in name]:
            logging.getLogger(log).setLevel(logging.CRITICAL)
        own = {"comm.timeouts.connect": PATIENCE, "admin.large-graph-warning-threshold": "1GB"}
        import_module("dask").config.set({f"distributed.{n}": value for n, value in own.items()})
        where = {"scheduler_file": str(file)} if file else {"address": address}
        try:
            self.client = _in_time(
                lambda: self.dask.Client(**where, timeout=PATIENCE, set_as_default=False)
            )
        except Exception as error:  # of the network, of the address, of a scheduler's own
            raise InputError(
                f"no scheduler of Dask answers at {self.name} in {PATIENCE} seconds: is it "
                f"running there, and does a firewall let it through? ({_first(error)})"
            ) from error
        self.known = Known(lambda sent: self.client.scatter(packed(sent), broadcast=True))
        self.losses = Losses()
        self.threads: dict[str, int] = {}
        self.counted = -inf
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE)
            compare(self.client.run(_begin))
        except InputError:
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise InputError(
                f"the scheduler at {self.name} has no workers: start some with dask worker "
                f"{self.name.removeprefix('tcp://')}"
            ) from error
        except Exception as error:
            self.close()
            raise InputError(
                f"a worker of {self.name} cannot begin ({_first(error)}): it needs this version of "
                "minireptile and its packages"
            ) from error

    @property
    def count(self) -> int:
        """Threads of all workers. They may come and go: they are counted every few seconds."""
        if time.monotonic() - self.counted > PATIENCE:
            self.threads, self.counted = self.client.nthreads(), time.monotonic()
        return max(1, sum(self.threads.values()))

    def __call__(self, job: Callable[[range], Any], lots: Iterable[range]) -> Iterator[Any]:
        """What the job gives for each lot, in the order of the lots."""
        assert isinstance(job, Job)
        lots, done = [*lots], 0
        while done < len(lots):
            futures: list[Any] = []
            try:
                common = {"parts": self.known(job.sent), "changes": job.changes}
                futures = self.client.map(_compute, lots[done:], pure=False, **common)
                for future in futures:
                    found = future.result()
                    self.losses.none()
                    done += 1
                    yield found
            except (InputError, ImportError):
                raise
            except self.dask.scheduler.KilledWorker as error:
                raise InputError(
                    f"a lot of tasks ended every worker that took it, the last at "
                    f"{getattr(error.last_worker, 'address', 'an unknown address')}: it may lack "
                    "memory; lower --meta-batch, or give a worker more"
                ) from error
            except MemoryError as error:
                raise InputError(
                    f"a worker of {self.name} lacks the memory for a lot of tasks: lower "
                    "--meta-batch, or give a worker more"
                ) from error
            except (OSError, CancelledError, TimeoutError) as error:
                # What all lots have in common went with the workers that held it, or everything.
                if self.client.status != "running":
                    raise InputError(
                        f"the scheduler at {self.name} is gone: a run that had begun is saved up "
                        "to its last checkpoint, and goes on with minireptile resume"
                    ) from error
                self.known.forget()
                self.losses.another(
                    "they may lack the memory for a lot of tasks (lower --meta-batch, or give them "
                    f"more); the log of the workers of {self.name} says it"
                )
            finally:
                for future in futures[done:]:
                    future.cancel()

    def close(self) -> None:
        """Leave the scheduler, which goes on with its workers."""
        self.client.close(timeout=PATIENCE)


def _in_time(make: Callable[[], Any]) -> Any:
    """What it makes; for one that accepts and then says nothing, Dask itself would wait."""
    answers: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(make())
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=3 * PATIENCE)
    except Empty:
        raise TimeoutError("it accepts and does not answer") from None
    if isinstance(found, Exception):
        raise found
    return found


def _first(error: BaseException) -> str:
    """The first line of what went wrong."""
    return (str(error).splitlines() or [""])[0].strip() or type(error).__name__


def _begin() -> Any:
    """On a worker: what it is."""
    hold_to_one_thread()
    return kind()


_opened = lru_cache(4)(unpacked)


def _compute(lot: range, parts: bytes, changes: dict[str, Any]) -> Any:
    """On a worker: a lot. A worker keeps what it was sent, and has it read once."""
    return compute(_opened(parts), changes, lot)
