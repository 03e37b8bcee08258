"""``python -m learn``: check the exercise you are at, and go on to the next one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

if not __package__:  # python learn, or python learn/__main__.py
    sys.exit(f"run it as a module: cd {Path(__file__).resolve().parents[1]} && python -m learn")

from minireptile.errors import InputError

from . import learner
from .course import COURSE
from .folder import Folder
from .learner import Fault, ToDo, Verdict, shown, time_limit
from .record import Exercise
from .solution import solved

MY = Path(__file__).resolve().parents[1] / "my"
USAGE = """\
python -m learn                  check the exercise you are at, and go on to the next one
python -m learn NAME             check this one: its number or its name, such as 5 or batchnorm
python -m learn hint [NAME]      the equation, then the line of thought: one more with each call
python -m learn solution [NAME]  after passing, or with --give-up
python -m learn list             all exercises, and where you are
python -m learn reset NAME       the stub again; what you wrote is kept beside it

You write in the folder my/. Exit code: 0 right, 1 not right yet, 2 a command that is none."""
PRINTED = 5  # lines of the learner's own that are shown


def find(word: str) -> Exercise:
    """The exercise of this number or name."""
    for e in COURSE:
        number, _, subject = e.name.partition("_")
        if word in (e.name, subject, subject.replace("_", "-"), number, str(int(number))):
            return e
    first, last = (e.name[:2] for e in (COURSE[0], COURSE[-1]))
    raise InputError(
        f"there is no exercise {word!r}: give a number from {first} to {last}, or a name from "
        "python -m learn list"
    )


def heading(exercise: Exercise) -> str:
    """Number, title, and about how long it takes."""
    return f"{exercise.name[:2]}  {exercise.title}"


def check(exercise: Exercise, folder: Folder, named: bool) -> bool:
    """Check one exercise and say what came out. Where it is right for the first time, or was
    asked for by name, its functions are then used for something."""
    path = folder.file(exercise)
    with time_limit(learner.CHECK_LIMIT, path):
        verdict = learner.attempt(exercise, path)
    right = verdict.outcome == "right"
    new = not folder.has_passed(exercise)
    folder.note_passed(exercise, right)
    print(report(exercise, path, verdict), flush=True)
    if right and exercise.finish and (new or named):
        finish(exercise, path, folder)
    if right and named:
        print("  next    python -m learn")
    return right


def report(exercise: Exercise, path: Path, verdict: Verdict) -> str:
    """What came out, and what to do next."""
    lines = [f"{heading(exercise)}: right"]
    if verdict.outcome == "to do":
        lines = [f"{heading(exercise)}: to do, about {exercise.minutes} minutes", ""]
        lines += [f"  read    {exercise.read}", verdict.text]
    elif verdict.outcome == "wrong":
        lines = [f"{heading(exercise)}: not right yet", "", verdict.text, ""]
        lines += [f"  see     {verdict.last or shown(path)}"]
        lines += [f"  stuck?  python -m learn hint {exercise.name}"]
    elif verdict.outcome == "fault":
        lines = [f"{heading(exercise)}: cannot be checked", "", verdict.text]
    if verdict.printed:
        count = len(verdict.printed)
        lines += ["", f"  it printed {count} line{'s' * (count > 1)}"
                  + (f", of which the first {PRINTED}:" if count > PRINTED else ":")]  # fmt: skip
        lines += [f"  | {line}" for line in verdict.printed[:PRINTED]]
    return "\n".join(lines)


def finish(exercise: Exercise, path: Path, folder: Folder) -> None:
    """What the learner's own functions do once they are right; that they are, stays true."""
    assert exercise.finish is not None
    try:
        with time_limit(learner.FINISH_LIMIT, path):
            functions = learner.for_use(exercise, path)
            print(f"\n{exercise.finish(functions, folder.path)}\n")
    except (Fault, ToDo) as fault:
        print(f"\n{fault}\n")
    except Exception as error:  # shapes that no check had, for one
        print(f"\nYour functions could not be used for more: {type(error).__name__}: {error}\n")


def check_all(folder: Folder) -> int:
    """Check the current exercise and those behind it, up to the first that is not right."""
    while exercise := folder.current(COURSE):
        if not check(exercise, folder, named=False):
            return 1
    print(f"All {len(COURSE)} exercises are right.")
    return 0


def hint(exercise: Exercise, folder: Folder) -> int:
    """One hint more than the last time; and if what is wrong is well known, its name."""
    path = folder.file(exercise)
    with time_limit(learner.CHECK_LIMIT, path):
        verdict = learner.attempt(exercise, path)
        known = learner.known_mistake(exercise, verdict) if verdict.outcome == "wrong" else None
    print(heading(exercise))
    if known:
        print(f"\n  Yours is a mistake with a name: {known.name.partition(': ')[2]}")
        print(f"  How it shows: {known.shows}")
    many = folder.next_hint(exercise)
    for i, text in enumerate(exercise.hints[:many], 1):
        whole = text.replace("eq. ", "eq.\xa0")  # a number stays on the line of its "eq."
        print(
            fill(whole, 96, initial_indent=f"\n  {i}  ", subsequent_indent=" " * 5).replace(
                "\xa0", " "
            )
        )
    left = len(exercise.hints) - many
    if left:
        print(f"\n  {left} more: python -m learn hint {exercise.name}")
    else:
        print(f"\n  That was the last one: python -m learn solution {exercise.name} --give-up")
    return 0


def solution(exercise: Exercise, folder: Folder, give_up: bool) -> int:
    """The whole file, right, for those who have passed or give up."""
    if not give_up and not folder.has_passed(exercise):
        print(
            f"{heading(exercise)}: the solution is for those who have passed; "
            f"to see it all the same: python -m learn solution {exercise.name} --give-up"
        )
        return 1
    print(solved(exercise))
    return 0


def show_list(folder: Folder) -> int:
    """A line for each exercise."""
    at = folder.current(COURSE)
    for e in COURSE:
        mark = "done" if folder.has_passed(e) else "current" if e is at else "to do"
        print(f"{mark:<8} {e.name:<22} {e.minutes:>3} min   {e.title}")
    done = sum(folder.has_passed(e) for e in COURSE)
    left = sum(e.minutes for e in COURSE if not folder.has_passed(e))
    print(f"\n{done} of {len(COURSE)} done, about {left} minutes to go; you write in "
          f"{shown(folder.path)}/")  # fmt: skip
    return 0


def reset(exercise: Exercise, folder: Folder) -> int:
    """The stub again."""
    kept = folder.reset(exercise)
    print(f"{shown(folder.file(exercise))} is the stub again"
          + (f"; what you wrote is in {shown(kept)}" if kept else ""))  # fmt: skip
    return 0


def run(words: Sequence[str], my: Path) -> int:
    """What the command asks for, in this folder."""
    if any(w in ("-h", "--help", "help") for w in words):
        print(USAGE)
        return 0
    give_up = "--give-up" in words
    command, *names = [w for w in words if w != "--give-up"] or [""]
    if command not in ("", "hint", "solution", "list", "reset"):
        command, names = "check", [command, *names]
    for word in names:
        if word.startswith("-"):
            raise InputError(f"there is no option {word!r}: see python -m learn --help")
    if len(names) > (0 if command in ("", "list") else 1):
        raise InputError(f"one at a time, not {' '.join(names)!r}: see python -m learn --help")
    if give_up and command != "solution":
        raise InputError("--give-up goes with solution: python -m learn solution --give-up")
    if command == "reset" and not names:
        raise InputError("say which: python -m learn reset NAME")
    named = find(names[0]) if names else None
    folder = Folder(my)
    if command == "":
        return check_all(folder)
    if command == "list":
        return show_list(folder)
    exercise = named or folder.current(COURSE) or COURSE[-1]
    if command == "hint":
        return hint(exercise, folder)
    if command == "solution":
        return solution(exercise, folder, give_up)
    if command == "reset":
        return reset(exercise, folder)
    return 0 if check(exercise, folder, named=True) else 1


def main(words: Sequence[str], my: Path = MY) -> int:
    """Run a command; what is wrong with it is one sentence and exit code 2."""
    try:
        return run(words, my)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # python -m learn | head; what is left to say goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
