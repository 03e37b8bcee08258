"""Measurements that need a process of their own: they run a module and answer in JSON."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minireptile.errors import InputError


def ask(module: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """Run ``python -m module arguments`` and read the JSON object that it prints last. `InputError`
    if it fails: with the last line of what it said."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=Path(__file__).parents[1],
        env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"{module} failed in a process of its own: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def answering() -> Iterator[Callable[[Any], None]]:
    """Give a function that writes an object as a line of JSON to what was stdout. What is printed
    goes to stderr, so that it does not get between the answers."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        yield lambda what: print(
            json.dumps(what, default=lambda number: number.item()), file=answers, flush=True
        )


def lines_of(process: subprocess.Popen[str]) -> queue.SimpleQueue[str]:
    """What a process writes, line by line as it comes, and "" at the end."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as stdout:
            for line in stdout:
                lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def end(process: subprocess.Popen[str]) -> None:
    """End a process with those that it started, if it is still there; it leads its own session."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def last_words(text: str) -> str:
    """The last line of what a process said."""
    return (text.strip().splitlines() or ["it said nothing"])[-1][:300]


def sentence(error: BaseException) -> str:
    """An exception in one line."""
    text = str(error).strip().splitlines() or ["without a message"]
    return f"{type(error).__name__}: {text[0][:300]}"
