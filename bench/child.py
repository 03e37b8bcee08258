"""Measurements that need a process of their own: they run a module and answer in JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from minireptile.errors import InputError


def ask(module: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """Run ``python -m module arguments`` and read the JSON object that it prints last.

    Raises
    ------
    InputError
        If it fails: with the last line of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"{module} failed in a process of its own: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])
