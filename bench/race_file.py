"""A file of somebody's kernels: which operations it has, and what becomes of calling them.

What the file's code does wrong ends in a sentence that says where it was.
"""

import difflib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from minireptile.backend import kernels
from minireptile.errors import InputError
from minireptile.kernels.operations import OPERATIONS

from .child import sentence

FORKED = "forked"
CUDA = ".cu"
SUFFIXES = (".py", CUDA, *EXTENSION_SUFFIXES)


@dataclass(frozen=True)
class Racer:
    """A file and the kernels in it."""

    name: str  # in tables: "yours" or "theirs"
    path: Path
    kernels: dict[str, Callable[..., None]]  # by operation
    # Called with what the file's code is about to do, and with "" when it is done.
    tell: Callable[[str], object]
    # The same for arrays of a GPU, where the others copy.
    on_gpu: dict[str, Callable[..., None]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.path.name

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Run the file's code: whatever it raises is an `InputError` that says what it was at."""
        with watched(self.path, what, self.tell):
            yield


@contextmanager
def watched(path: Path, what: str, tell: Callable[[str], object]) -> Iterator[None]:
    """Run code of the file at `path`, and tell; whatever it raises is an `InputError`."""
    process = os.getpid()
    tell(f"{path.name}, {what}")
    try:
        yield
    except BaseException as error:
        raise InputError(f"{path.name}, {what}: {_said(error)}{_line(error, path)}") from None
    finally:
        if os.getpid() != process:  # a copy, made behind Python's back
            tell(FORKED)
            os._exit(0)
    tell("")


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it wants to end the process, with sys.exit({error.code!r})"
    return sentence(error)


def _line(error: BaseException, path: Path) -> str:
    """Where in the file it came from."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__)
             if at.filename == str(path)]  # fmt: skip
    return f" (line {lines[-1]})" if lines else ""


def there(path: Path) -> Path:
    """The path of a file that may be raced, in full. `InputError` if it is none."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a file in it")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if not path.name.endswith(SUFFIXES):
        raise InputError(
            f"{path.name} is neither Python (.py), an extension module ({EXTENSION_SUFFIXES[0]}) "
            "nor CUDA (.cu): C goes through ctypes, as bench/RACE.md shows"
        )
    return path.resolve()


def load(name: str, path: Path, tell: Callable[[str], object]) -> Racer:
    """Run a Python file, and find the kernels in it. `InputError` if it fails, has none, or has one
    that does not take the contract's arguments."""
    module = _imported(name, path, tell)
    found = {operation: getattr(module, operation) for operation in OPERATIONS
             if hasattr(module, operation)}  # fmt: skip
    if not found:
        raise InputError(_none_found(path, module))
    for operation, kernel in found.items():
        if not callable(kernel):
            raise InputError(f"{operation} in {path.name} is {kernel!r:.50}, not a function")
        _check_signature(operation, kernel, path)
    return Racer(name, path, found, tell)


def _imported(name: str, path: Path, tell: Callable[[str], object]) -> ModuleType:
    # An extension module is looked up by the last part of this.
    spec = spec_from_file_location(f"{name}.{path.name.partition('.')[0]}", path)
    assert spec is not None
    assert spec.loader is not None
    sys.path.append(str(path.parent))  # as for a script, but behind what is installed
    try:
        with watched(path, "while it is imported", tell):
            module = module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
    except InputError as error:
        if isinstance(error.__context__, SyntaxError) and error.__context__.filename == str(path):
            wrong = error.__context__
            raise InputError(
                f"{path.name} is no Python: {wrong.msg} (line {wrong.lineno})"
            ) from None
        raise
    return module


def _none_found(path: Path, module: ModuleType) -> str:
    near = {
        name: close[0]
        for name, value in vars(module).items()
        if callable(value) and (close := difflib.get_close_matches(name, OPERATIONS, cutoff=0.75))
    }
    text = f"{path.name} has no function named after an operation"
    if near:
        meant = ", ".join(f"{wrong}: did you mean {right}" for wrong, right in near.items())
        return f"{text}; {meant}?"
    return f"{text}, which are {', '.join(OPERATIONS)}"


def contract(operation: str) -> list[str]:
    """The arguments of an operation's kernels, in their order."""
    return list(inspect.signature(getattr(kernels("numpy"), operation)).parameters)


def _check_signature(operation: str, kernel: Any, path: Path) -> None:
    """Whether a kernel takes as many arguments as the contract has, those of the contract's names
    at their places; what cannot be asked for its signature is called and sees."""
    try:
        signature = inspect.signature(kernel)
    except (TypeError, ValueError):
        return
    wanted = contract(operation)
    try:
        at = signature.bind(*range(len(wanted))).arguments
        fits = all(
            name not in wanted or wanted[i] == name for name, i in at.items() if isinstance(i, int)
        )
    except TypeError:
        fits = False
    if not fits:
        raise InputError(
            f"{path.name} has {operation}({', '.join(map(str, signature.parameters))}), where the "
            f"contract is {operation}({', '.join(wanted)})"
        )
