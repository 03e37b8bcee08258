"""The command line: ``minireptile train | resume | sweep | evaluate | plot | reproduce | info``.

Exit codes: 0 done, 1 some runs of a sweep failed, 2 wrong input (one sentence says what), 130 or
143 stopped by a signal.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..errors import InputError, MissingPackage, require
from ..runs.signals import Stopped
from ..runs.workers.base import launched
from .commands import COMMANDS


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread, if threadpoolctl is there to do so.

    The products are too small to gain from two, run several times slower where another program
    wants a core, and a sum split over threads would make a run's last digits depend on the machine.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        require("rich_click", "cli")
        from .arguments import parse

        try:
            args = parse(arguments)
        except InputError:
            if launched()[0]:  # the first of mpiexec's processes says it for all
                return 2
            raise
        if args is None:
            return 0
        # A diverging run ends with a sentence of its own, not with NumPy's warnings.
        with np.errstate(all="ignore"), _one_blas_thread():
            return COMMANDS[args.command](args) or 0
    except (InputError, MissingPackage) as error:
        print(f"minireptile: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("minireptile: not enough memory for that: ask for less", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"stopped after iteration {stop.iteration}, and saved: continue with resume")
        return 128 + stop.signum
    except KeyboardInterrupt:
        print("interrupted; a run that had begun is saved up to its last checkpoint")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
