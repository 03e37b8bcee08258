"""One run of a sweep, in a process of its own: ``python -m minireptile.runs.cell FOLDER SETTINGS``.

It trains or resumes as the commands do. It ends, and saves, on SIGTERM, and when its standard input
does: that is a pipe from the sweep, which a killed sweep leaves closed.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import InputError, MissingPackage
from . import run
from .folder import CHECKPOINT
from .settings import from_json
from .signals import Stopped

LOCK = ".lock"


@contextmanager
def held(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder, as long as this process lives at most; `BlockingIOError` if another one holds
    it, and this one is not to wait."""
    try:
        import fcntl
    except ImportError:  # where there is none, two at a time are not found out
        yield
        return
    with open(folder / LOCK, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _end_with_the_sweep() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(folder: Path, settings: str) -> int:
    """Take the run to its end; returns the exit code."""
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    try:
        # One that a killed sweep has left behind may still be saving.
        with held(folder), np.errstate(all="ignore"):
            s = from_json(settings)
            if (folder / CHECKPOINT).exists():
                run.resume(folder, drawn=False, data=s.data)
            else:
                run.train(s, folder, drawn=False)
    except Stopped as stop:
        return 128 + stop.signum
    except (InputError, MissingPackage) as error:
        print(f"minireptile: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("minireptile: not enough memory for that: lower --workers", file=sys.stderr)
        return 2
    except Exception as error:
        traceback.print_exc()
        print(f"minireptile: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
