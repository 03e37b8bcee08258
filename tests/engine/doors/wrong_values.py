"""Wrong values, doors to put them into, and which of them an argument must take or refuse."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import minireptile as mr
from minireptile.backend import why_not
from minireptile.checks import shown

BACKENDS = tuple(backend for backend in ("numpy", "numba") if not why_not(backend))
Legit = Callable[[Any], bool | None]  # whether a value must be taken; None: it may be


@dataclass(frozen=True)
class Wrong:
    """Something to put in the place of a right argument. `legit` overrules the argument's own."""

    label: str
    make: Callable[[Any], Any] = field(repr=False)  # of the right argument
    legit: bool | str | None = "as the argument says"


@dataclass(frozen=True)
class Door:
    """A public callable: a right call on a backend, and what each argument may be instead.

    A place such as "state/v" is an entry of a dictionary, or a field of a record, in an argument.
    """

    call: Callable[..., Any]
    right: Callable[[str], dict[str, Any]]
    places: dict[str, tuple[Legit, tuple[Wrong, ...]]]
    drawn: bool = True  # whether Hypothesis adds values of its own

    def cases(self) -> list[tuple[str, Wrong]]:
        return [(place, wrong) for place, (_, pool) in self.places.items() for wrong in pool]

    def strategy(self) -> st.SearchStrategy[tuple[str, Wrong]]:
        return st.tuples(st.sampled_from(sorted(self.places)), ANYTHING)

    def outcome(self, backend: str, place: str, wrong: Wrong) -> str:
        """ "taken", "refused: SENTENCE" or, of any other exception, "died of ..."."""
        arguments = self.right(backend)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            _put(arguments, place, wrong.make)
            try:
                self.call(**arguments)
            except (mr.InputError, mr.MissingPackage) as error:
                return f"refused: {error}"
            except Exception as error:
                return f"died of {type(error).__name__}: {error}"
        return "taken"

    def check(self, outcome: str, place: str, wrong: Wrong) -> None:
        """Assert that it was right to take or to refuse it, and said in one sentence."""
        legit, value = wrong.legit, self.value(place, wrong)
        if isinstance(legit, str):
            legit = self.places[place][0](value)
        case = f"{place} = {wrong.label} ({shown(value)}): {outcome}"
        assert not outcome.startswith("died"), case
        if outcome.startswith("refused"):
            assert legit is not True, case
            assert "\n" not in outcome, case
            assert 20 < len(outcome) < 400, case
        else:
            assert legit is not False, case

    def value(self, place: str, wrong: Wrong) -> Any:
        arguments = self.right("numpy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _put(arguments, place, wrong.make)


def _put(arguments: dict[str, Any], place: str, make: Callable[[Any], Any]) -> Any:
    """Replace what is at a place, in copies of the records on the way; returns the new value."""
    first, *rest = place.split("/")

    def put(inside: Any, names: list[str]) -> tuple[Any, Any]:
        if not names:
            value = make(inside)
            return value, value
        old = inside[names[0]] if isinstance(inside, dict) else getattr(inside, names[0])
        new, value = put(old, names[1:])
        if isinstance(inside, dict):
            return {**inside, names[0]: new}, value
        return replace(inside, **{names[0]: new}), value

    arguments[first], value = put(arguments[first], rest)
    return value


# --------------------------------------------------------------------------------- wrong values


class Odd:
    """A stranger that even a sentence finds it hard to name."""

    def __repr__(self) -> str:
        raise RuntimeError("no name\nto be shown")


def nothing(*arguments: Any) -> None:
    """Of anything, and gives nothing."""


VALUES: dict[str, Any] = {
    "None": None, "a string": "0.1", "a long string": "so\n" * 99, "bytes": b"1", "a class": mr.SGD,
    "True": True, "False": False, "NaN": np.nan, "inf": np.inf, "-inf": -np.inf, "-1": -1, "0": 0,
    "1": 1, "2": 2, "10.5": 10.5, "2.0": 2.0, "0.5": 0.5, "2**70": 2**70, "10**400": 10**400,
    "10**5000": 10**5000, "1j": 1j, "[]": [], "()": (), "{}": {}, "a dictionary": {"lr": 0.1},
    "ragged": [[1], [1, 2]], "a pair": (2, 2), "a list": [1, 2], "not rising": [2, 1],
    "three": (2, 2, 2), "a pair with 0": (2, 0), "a pair of floats": (2.0, 2.5),
    "an array": np.arange(3.0), "a range": range(1, 3), "int64": np.int64(2), "uint8": np.uint8(2),
    "float32": np.float32(0.5), "float64": np.float64(0.5), "bool_": np.bool_(True),
    "0-d": np.array(2), "a function": nothing, "an iterator": iter(()), "a stranger": Odd(),
    "a record": mr.SGD(0.1), "a layer": mr.Tanh(), "a time": np.timedelta64(3),
}  # fmt: skip


def constantly(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


POOL = tuple(Wrong(label, constantly(value)) for label, value in VALUES.items())


def frozen(a: NDArray) -> NDArray:
    a = a.copy()
    a.flags.writeable = False
    return a


def gaps(a: NDArray) -> NDArray:
    return np.repeat(a[..., None], 2, -1)[..., 0]


# Arrays made of the right one: may they be read as floats, as labels, as floats in place?
DAMAGES: dict[str, tuple[Callable[[NDArray], Any], tuple[bool | None, bool | None, bool]]] = {
    "as a list": (lambda a: a.tolist(), (True, True, False)),
    "read-only": (frozen, (True, True, False)),
    "with gaps": (gaps, (True, True, True)),
    "big-endian": (lambda a: a.astype(a.dtype.newbyteorder(">")), (True, True, False)),
    "float16": (lambda a: a.astype(np.float16), (True, False, False)),
    "int16": (lambda a: a.astype(np.int16), (True, True, False)),
    "uint64": (lambda a: a.astype(int).astype(np.uint64), (True, None, False)),
    "booleans": (lambda a: a.astype(bool), (True, False, False)),
    "complex": (lambda a: a.astype(complex), (False, False, False)),
    "objects": (lambda a: a.astype(object), (False, False, False)),
    "strings": (lambda a: a.astype(str), (False, False, False)),
    "times": (lambda a: a.astype("m8[s]"), (False, False, False)),
    "records": (lambda a: np.zeros(a.shape, "f8,f8"), (False, False, False)),
    "masked": (lambda a: np.ma.masked_array(a, a == a.flat[0]), (False, False, False)),
    "NaN": (lambda a: np.full(a.shape, np.nan), (True, False, True)),
    "ragged rows": (lambda a: [*np.atleast_1d(a).tolist(), [[[1.0]]]], (False, False, False)),
    "another axis in front": (lambda a: a[None], (False, False, False)),
    "another axis behind": (lambda a: a[..., None].copy(), (False, False, False)),
    "no axis": (lambda a: a.ravel()[0], (False, False, False)),
    "in a row": (lambda a: np.tile(a, 2).ravel(), (False, False, False)),
    "empty": (lambda a: np.atleast_1d(a)[:0], (False, False, False)),
    "longer rows": (lambda a: np.concatenate([np.atleast_1d(a)] * 2, -1), (False, False, False)),
    "shorter rows": (lambda a: np.atleast_1d(a)[..., 1:].copy(), (False, False, False)),
}
NEVER = tuple(
    replace(wrong, legit=False) for wrong in POOL
    if wrong.label not in ("an array", "a list", "not rising", "a pair", "three", "a range", "0-d")
)  # fmt: skip
UNKNOWN: Legit = lambda value: None  # noqa: E731


def arrays(
    role: int, without: str = "", **other: bool | None
) -> tuple[Legit, tuple[Wrong, ...]]:  # fmt: skip
    """What may stand for an array to be read as floats (0), as labels (1), or to be changed (2)."""
    damaged = [
        Wrong(label, make, other.get(label.replace(" ", "_").replace("-", "_"), legit[role]))
        for label, (make, legit) in DAMAGES.items()
        if label != without
    ]
    return UNKNOWN, (*damaged, *NEVER)


READ, LABELS, PLACE = (partial(arrays, role) for role in range(3))
STATE = partial(arrays, 2, with_gaps=False)
COUNT = partial(STATE, NaN=False)
KEPT = partial(STATE, read_only=True, NaN=False)  # a snapshot's, of which copies are made
KEPT_COUNT = partial(KEPT, with_gaps=None)
THETA = partial(arrays, 2, read_only=True, NaN=False)
NAMES = (
    Wrong("without v", lambda s: {k: a for k, a in s.items() if k != "v"}, False),
    Wrong("without t", lambda s: {k: a for k, a in s.items() if k != "t"}, False),
    Wrong("with another", lambda s: {**s, "w": s["v"]}, False),
    Wrong("with a number for a name", lambda s: {**s, 3: s["v"]}, False),
    Wrong("of a single task", lambda s: {k: a[..., 0, :] if k in "vm" else a for k, a in
                                         s.items()}, False),
    Wrong("of SGD", lambda s: {"velocity": s["v"]}, False),
)  # fmt: skip
# Hypothesis's own: numbers, names and arrays that are too small to fit anywhere.
ANYTHING = st.one_of(
    st.floats(), st.integers(max_value=-1), st.integers(min_value=2**64), st.text(max_size=3),
    st.complex_numbers(), st.binary(max_size=2), st.lists(st.integers(-3, -1), max_size=2),
    hnp.arrays(
        hnp.scalar_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    ),
).map(lambda value: Wrong(f"drawn: {value!r}", lambda _: value))  # fmt: skip


# ----------------------------------------------------------------------------- what is legitimate


def is_whole(v: Any) -> bool:
    return type(v) is int or type(v).__name__ in ("int64", "uint8", "Stream")


def count(least: int = 1, most: int = 2**31 - 1) -> tuple[Legit, tuple[Wrong, ...]]:
    return lambda v: is_whole(v) and least <= v <= most, POOL


def real(fits: Callable[[float], bool] = lambda x: True) -> tuple[Legit, tuple[Wrong, ...]]:
    def legit(v: Any) -> bool:
        if not is_whole(v) and not isinstance(v, float | np.floating):
            return False
        return -(10**308) < (v if is_whole(v) else float(v)) < 10**308 and fits(float(v))

    return legit, POOL


def among(*names: Any) -> tuple[Legit, tuple[Wrong, ...]]:
    return lambda v: any(v is name or (type(v) is str and v == name) for name in names), POOL


def counts(least: int, more: Callable[[list[int]], bool]) -> tuple[Legit, tuple[Wrong, ...]]:
    def legit(v: Any) -> bool:
        fine = type(v) in (tuple, list, range) and all(is_whole(n) and n >= least for n in v)
        return fine and more(list(v))

    return legit, POOL


def one_or_two(v: Any) -> bool:
    one = is_whole(v) and 0 < v < 2**31
    return one or (type(v) in (tuple, list) and len(v) == 2 and all(map(one_or_two, v)))


def only(*legit: Any) -> tuple[Legit, tuple[Wrong, ...]]:
    """Nothing of the pool but these."""
    return lambda v: any(v is right or (type(v) is type(right) and v == right) for right in
                         legit), POOL  # fmt: skip


FLAG = (lambda v: type(v) in (bool, np.bool_), POOL)
PAIR = (one_or_two, POOL)
POSITIVE, FRACTION = real(lambda x: x > 0), real(lambda x: 0 <= x < 1)
RATE = real(lambda x: 0 < x <= 1)
SEED = count(0, 2**64 - 1)
INIT = among("glorot_uniform", "he_normal", "fan_in_uniform", "zeros", "ones")
OPTIMIZER = only(VALUES["a record"])
IN_SHAPE = counts(1, lambda v: len(v) == 1)


def rising(v: list[int]) -> bool:
    return bool(v) and v == sorted(set(v))
