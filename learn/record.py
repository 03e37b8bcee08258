"""What an exercise is: a stub to fill in, the check that must pass, and the ways it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.mistakes.record import Mistake

Check = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Exercise:
    """One step of the course; its stub is learn/stubs/NAME.py, a learner's copy my/NAME.py.

    Parameters
    ----------
    name : str
        The number and the subject, such as "01_dense".
    title : str
        What is written in it, in a line.
    minutes : int
        About how long it takes.
    read : str
        The section and the equations of a derivation, such as "kernels/dense.md, eq. 2 to 4".
    hints : tuple of str
        What `hint` gives: the equation first, then the line of thought.
    check : callable
        Takes the learner's module; raises AssertionError with what is wrong with it, in the
        words of the gradient kit, and NotImplementedError where a stub is still one.
    solution : mapping of str to callable
        The functions that the stub asks for, right: those of tests/mistakes or of the kernels.
    mistakes : tuple of Mistake
        Those of tests/mistakes that can be made here: `wrong` says in which function.
    finish : callable or None
        Takes the learner's module and a folder: trains something with it, saves a picture there
        and returns what to say.
    """

    name: str
    title: str
    minutes: int
    read: str
    hints: tuple[str, ...]
    check: Check
    solution: Mapping[str, Callable]
    mistakes: tuple[Mistake, ...] = ()
    finish: Callable[[ModuleType, Path], str] | None = None


def named(module: ModuleType, *names: str) -> dict[str, Callable]:
    """Functions of a module by their names."""
    return {name: getattr(module, name) for name in names}


def made_in(functions: Mapping[str, Callable], *modules: ModuleType) -> tuple[Mistake, ...]:
    """The mistakes of these modules of tests/mistakes that lie in one of the functions."""
    every = (m for module in modules for m in module.MISTAKES)
    return tuple(m for m in every if m.wrong and m.wrong.keys() <= functions.keys())
