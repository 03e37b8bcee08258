"""What must become of a wrong call."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given

from .wrong_values import Door, Wrong

FEW = 12  # failures of a door that are shown


def try_all(name: str, door: Door, backends: tuple[str, ...], say: Callable[[str], None]) -> str:
    """Make every wrong call, and those that Hypothesis thinks of; "" or what went wrong first."""
    for backend in backends:
        place = next(iter(door.places))
        right = Wrong("as it was", lambda value: value, True)
        say(f"{name}, right, on {backend}")
        door.check(door.outcome(backend, place, right), place, right)

    def check(case: tuple[str, Wrong]) -> None:
        place, wrong = case
        outcomes = []
        for backend in backends:
            say(f"{name} on {backend}, {place} = {wrong.label}")
            outcomes.append(door.outcome(backend, place, wrong))
            door.check(outcomes[-1], place, wrong)
        assert len({outcome[:5] for outcome in outcomes}) == 1, f"{place}, {wrong}: {outcomes}"

    failures = []
    for case in door.cases():
        try:
            check(case)
        except AssertionError as error:
            failures.append(str(error).split("\n")[0])
    if door.drawn and not failures:
        try:
            given(door.strategy())(check)()
        except AssertionError as error:
            failures.append(str(error).split("\n")[0])
    more = [f"and {len(failures) - FEW} others"] if len(failures) > FEW else []
    return "\n".join(failures[:FEW] + more)
