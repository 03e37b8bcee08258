"""A learner's file: loaded, checked, and what is wrong with it said in a few lines."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import inspect
import io
import linecache
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

import numpy as np

from minireptile.errors import InputError
from tests.mistakes.record import Mistake

from .record import Exercise

CHECK_LIMIT, FINISH_LIMIT = 20.0, 180.0  # seconds, after which a loop is taken to be endless


class Fault(BaseException):
    """The learner's file cannot be checked: a sentence. The kit catches Exception, not this."""


class ToDo(BaseException):
    """A function is still the stub's: which one, where, and what it is to return."""


@dataclass(frozen=True)
class Verdict:
    """What a check came to: "right", "wrong", "to do" or "fault"; why, in which function at the
    latest, and what was printed."""

    outcome: str
    text: str = ""
    last: str = ""
    printed: tuple[str, ...] = ()


def shown(path: Path) -> str:
    """The path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def load(path: Path) -> ModuleType:
    """Run the file, as an import would; `Fault` if that fails."""
    name = shown(path)
    try:
        code = _compiled(path, name)
    except OSError as error:
        raise Fault(f"cannot read {name}: {error.strerror or error}") from None
    linecache.checkcache(str(path))
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    with _faults(path, "when it is loaded"):
        exec(code, module.__dict__)
    return module


def _compiled(path: Path, name: str) -> CodeType:
    try:
        return compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        code = f"\n    {error.text.strip()}" if error.text and error.text.strip() else ""
        raise Fault(f"{name}{line}: Python cannot read this line: {error.msg}{code}") from None
    except ValueError as error:
        raise Fault(f"{name}: Python cannot read this file: {error}") from None


def _place(path: Path, trace: TracebackType | None) -> tuple[str, str]:
    """Where the learner's file was last: "my/01_dense.py:12", and that line."""
    own = [f for f in traceback.extract_tb(trace) if f.filename == str(path)]
    if not own:
        return shown(path), ""
    return f"{shown(path)}:{own[-1].lineno}", f"\n    {own[-1].line}" if own[-1].line else ""


@contextlib.contextmanager
def _faults(path: Path, when: str) -> Iterator[None]:
    """What the learner's code raises, as a sentence with its own line."""
    try:
        yield
    except (Fault, ToDo, KeyboardInterrupt):
        raise
    except SystemExit as error:
        where, line = _place(path, error.__traceback__)
        raise Fault(f"{where}: it ends Python {when}: leave exit() out{line}") from None
    except BaseException as error:
        where, line = _place(path, error.__traceback__)
        what = " ".join(str(error).split())
        told = f"{type(error).__name__}: {what}" if what else type(error).__name__
        raise Fault(f"{where}: {told}, {when}{line}") from None


def _of(value: Any) -> str:
    """An argument in a few words: the shape of an array, how long a list is, or the value."""
    if isinstance(value, np.ndarray) and value.ndim:
        return str(value.shape)
    return f"of {len(value)}" if isinstance(value, list | tuple) else repr(value)[:40]


def own_functions(
    exercise: Exercise, module: ModuleType, path: Path, called: list[str] | None = None
) -> ModuleType:
    """The learner's module with its functions, which must all be there, under watch; `called`
    gets the names of those that are called. Without it, what they print is dropped."""
    watched = ModuleType(module.__name__)
    watched.__dict__.update(module.__dict__)
    for name, right in exercise.solution.items():
        names = tuple(inspect.signature(right).parameters)
        asked = f"{name}({', '.join(names)})"
        own = getattr(module, name, None)
        if not callable(own):
            raise Fault(f"{shown(path)}: there is no function {asked}, which the stub asks for")
        try:
            inspect.signature(own).bind(*names)
        except TypeError:
            found = f"{name}{inspect.signature(own)}"
            raise Fault(f"{shown(path)}: write {asked}, as in the stub, not {found}") from None
        except ValueError:  # written in C, without a signature
            pass
        log = [] if called is None else called
        call = _watched(own, name, right, path, log)
        setattr(watched, name, _silent(call) if called is None else call)
    return watched


def _silent(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return function(*args, **options)

    return call


def _watched(
    function: Callable[..., Any], name: str, right: Callable[..., Any], path: Path,
    called: list[str],
) -> Callable[..., Any]:  # fmt: skip
    """The function, whose errors are a `Fault` with its own line, or a `ToDo`."""
    names = tuple(inspect.signature(right).parameters)
    returns = inspect.signature(right).return_annotation not in (None, "None")
    asked = f"{name}({', '.join(names)})"

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        called.append(name)
        arrays = (a for a in args if isinstance(a, np.ndarray | np.generic))
        if any(map(np.iscomplexobj, arrays)):  # the kit tries a complex step, and can do without
            return function(*args, **options)
        given = ", ".join(f"{n} {_of(a)}" for n, a in zip(names, args, strict=False))
        with _faults(path, f"where {name} was called with {given}"):
            try:
                result = function(*args, **options)
            except NotImplementedError as error:
                where, _ = _place(path, error.__traceback__)
                raise ToDo(f"  write   {asked} in {where}\n  to do   {error}") from None
        if result is None and returns:
            raise Fault(f"{_head(function, path)}: {asked} returns None: is its return missing?")
        return result

    return call


def _head(function: Callable[..., Any], path: Path) -> str:
    """Where a function begins: "my/01_dense.py:20"."""
    code = getattr(function, "__code__", None)
    return shown(path) + (f":{code.co_firstlineno}" if code else "")


def attempt(exercise: Exercise, path: Path) -> Verdict:
    """Check the file; nothing that it does gets out, but for an endless loop (`time_limit`)."""
    said, called = io.StringIO(), [""]
    try:
        with contextlib.redirect_stdout(said):
            module = load(path)
            text = _told(exercise, own_functions(exercise, module, path, called))
        verdict = Verdict("wrong" if text else "right", text)
        if text and called[-1]:
            head = _head(getattr(module, called[-1]), path)
            verdict = replace(verdict, last=f"{called[-1]}, {head}")
    except ToDo as todo:
        verdict = Verdict("to do", str(todo))
    except Fault as fault:
        verdict = Verdict("fault", str(fault))
    return replace(verdict, printed=tuple(said.getvalue().splitlines()))


def _told(exercise: Exercise, functions: ModuleType) -> str:
    """What the check says to these functions; nothing if they are right."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            exercise.check(functions)
    except (AssertionError, InputError) as error:
        # How to call the kit again is for people who have its arguments.
        return "\n".join(x for x in str(error).splitlines() if "note: again: " not in x)
    return ""


def with_mistake(exercise: Exercise, mistake: Mistake | None = None) -> ModuleType:
    """The solution as a module, with a mistake in it if there is to be one."""
    module = ModuleType(exercise.name)
    module.__dict__.update(exercise.solution)
    module.__dict__.update(mistake.wrong if mistake else {})
    return module


def known_mistake(exercise: Exercise, verdict: Verdict) -> Mistake | None:
    """The mistake to which the check says the very same, in the same numbers."""
    tried = ((m, _told(exercise, with_mistake(exercise, m))) for m in exercise.mistakes)
    return next((m for m, text in tried if text == verdict.text), None)


def passed_module(exercise: Exercise, folder: Path) -> ModuleType:
    """The learner's functions of another exercise, to go on with; `Fault` if they are not right."""
    path = folder / f"{exercise.name}.py"
    if not path.exists() or attempt(exercise, path).outcome != "right":
        raise Fault(
            f"More can be made of this with your functions of {exercise.name}, which are not "
            f"right yet: python -m learn {exercise.name}, and then this one again by its name."
        )
    return for_use(exercise, path)


def for_use(exercise: Exercise, path: Path) -> ModuleType:
    """The learner's functions, for more than a check."""
    with contextlib.redirect_stdout(io.StringIO()):
        module = load(path)
    return own_functions(exercise, module, path)


@contextlib.contextmanager
def time_limit(seconds: float, path: Path) -> Iterator[None]:
    """End Python with one sentence and exit code 1 where the file's code takes longer."""
    main = threading.main_thread().ident
    out = sys.stdout

    def stop() -> None:
        frame = sys._current_frames().get(main or 0)
        while frame and frame.f_code.co_filename != str(path):
            frame = frame.f_back
        where = shown(path) + (f":{frame.f_lineno}" if frame else "")
        line = linecache.getline(str(path), frame.f_lineno).strip() if frame else ""
        code = f"\n    {line}" if line else ""
        print(
            f"{where}: still here after {seconds:g} seconds, and stopped: does a loop never end?"
            f"{code}",
            file=out, flush=True,
        )  # fmt: skip
        os._exit(1)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    # One call into C that never ends keeps the timer's thread from running; this stops it too.
    faulthandler.dump_traceback_later(seconds + 5, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()
