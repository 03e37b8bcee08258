"""What an experiment finds, and how it is kept: figures, a picture, and a sentence."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require
from ..files import write_atomically
from ..runs.plot import figure, save_figure
from ..runs.seeds import student

HOLDS, FAILS, TOO_SMALL = "holds", "does not hold", "too small to tell"


@dataclass(frozen=True)
class Finding:
    """A figure, its interval, and the bound that the claim has it above or below."""

    what: str  # the figure, in words that "is" can follow
    # It, and the ends of its 95 % interval; all three the same where there is no chance in it.
    estimate: float
    low: float
    high: float
    bound: float = 0.0
    above: bool = True  # the claim has the figure above the bound; else below
    needed: bool = False  # the claim says nothing of it, but nothing can be told unless it is so

    @property
    def verdict(self) -> str:
        """All of the interval on the right side, all of it on the other, or neither."""
        right = self.low > self.bound if self.above else self.high < self.bound
        wrong = self.high < self.bound if self.above else self.low > self.bound
        return HOLDS if right else FAILS if wrong and not self.needed else TOO_SMALL

    @property
    def margin(self) -> float:
        """How far the nearer end of the interval is on the right side."""
        return self.low - self.bound if self.above else self.bound - self.high

    def told(self) -> str:
        """The figure, its interval and the bound, in words."""
        side, other = ("above", "below") if self.above else ("below", "above")
        interval = f" (95 %: {self.low:.3g} to {self.high:.3g})" if self.low < self.high else ""
        if self.needed and self.verdict != HOLDS:
            end = f"and nothing can be told unless it is {side} {self.bound:.3g}"
        elif self.verdict == TOO_SMALL:
            end = f"where the claim has it {side} {self.bound:.3g}, which lies within"
        else:
            end = f"{side if self.verdict == HOLDS else other} {self.bound:.3g}"
        return f"{self.what} is {self.estimate:.3g}{interval}, {end}"


def exactly(what: str, value: float, bound: float, **how: Any) -> Finding:
    """A figure without chance."""
    return Finding(what, value, value, value, bound, **how)


def around(what: str, mean: float, half: float, bound: float = 0.0, **how: Any) -> Finding:
    """A mean and the half-width of its interval."""
    return Finding(what, float(mean), float(mean - half), float(mean + half), bound, **how)


def ratio(what: str, over: Any, under: Any, bound: float = 1.0, **how: Any) -> Finding:
    """The geometric mean of the quotients of some pairs, with Student's interval of its logarithm;
    of a single pair, nothing is known."""
    logs = np.log(np.asarray(over, float)) - np.log(np.asarray(under, float))
    mean, half = student(logs)
    low, high = np.exp(mean - half), np.exp(mean + half)
    return Finding(what, float(np.exp(mean)), float(low), float(high), bound, **how)


def weakest(findings: Iterable[Finding]) -> Finding:
    """Of figures on one scale that the claim all needs, the one that decides."""
    order = (FAILS, TOO_SMALL, HOLDS)
    return min(findings, key=lambda f: (order.index(f.verdict), f.margin))


def decide(findings: Iterable[Finding]) -> str:
    """Holds, does not hold, or too small to tell: of all that a claim needs."""
    findings = list(findings)
    found = {finding.verdict for finding in findings}
    if any(f.needed and f.verdict != HOLDS for f in findings):
        return TOO_SMALL
    return FAILS if FAILS in found else TOO_SMALL if TOO_SMALL in found else HOLDS


@dataclass(frozen=True)
class Outcome:
    """The result of one experiment."""

    claim: str  # what is said, and who says it
    findings: list[Finding]  # what decides: all of them must be as claimed
    details: str  # the other figures, in sentences
    data: dict[str, Any]  # all figures; what JSON can hold
    draw: Callable[..., None]  # draws them on the axes that it is given, one for each panel
    panels: int = 1  # axes side by side

    @property
    def verdict(self) -> str:
        """HOLDS, FAILS or TOO_SMALL."""
        return decide(self.findings)

    def figures(self) -> str:
        """The figures that decide, with their intervals, and after them the others."""
        blocked = [f for f in self.findings if f.needed and f.verdict != HOLDS]
        deciding = blocked or [f for f in self.findings if f.verdict == self.verdict]
        return f"{'; '.join(f.told() for f in deciding)}. {self.details}"

    def sentence(self) -> str:
        """Claim and verdict, as the command line prints them."""
        begins = {HOLDS: "It holds", FAILS: "It does not hold", TOO_SMALL: "Too small to tell"}
        return f"{self.claim}\n{begins[self.verdict]}: {self.figures()}"


def prepare(folder: Path) -> None:
    """Make the folder and see that figures and pictures can be kept, before the work begins.
    `InputError` or `MissingPackage` if they cannot."""
    require("matplotlib.figure", "cli")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; choose another --out"
        ) from error


def keep(name: str, outcome: Outcome, folder: Path, quick: bool) -> list[Path]:
    """Write NAME.json and NAME.png; returns their paths. `InputError` if the folder cannot be
    written."""
    record = {
        "experiment": name, "quick": quick, "claim": outcome.claim, "verdict": outcome.verdict,
        "figures": outcome.figures(),
        "findings": [
            {k: None if v in (np.inf, -np.inf) else v for k, v in asdict(f).items()}
            | {"verdict": f.verdict} for f in outcome.findings
        ],
        "data": outcome.data,
    }  # fmt: skip
    paths = [folder / f"{name}.json", folder / f"{name}.png"]
    prepare(folder)
    write_atomically(paths[0], (json.dumps(record, indent=1, default=_plain) + "\n").encode())
    picture, axes = figure(ncols=outcome.panels)
    picture.set_size_inches(5.2 * outcome.panels, 3.8)
    outcome.draw(*np.atleast_1d(axes))
    save_figure(picture, paths[1])
    return paths


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON's."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON")


def interval(values: NDArray, axis: int = 0) -> tuple[NDArray, NDArray]:
    """Means and half-widths of their 95 % intervals along an axis, by the normal approximation."""
    n = values.shape[axis]
    return values.mean(axis), 1.96 * values.std(axis, ddof=1) / np.sqrt(n)


def difference(over: tuple[float, float], under: tuple[float, float]) -> tuple[float, float]:
    """Of two means with half-widths of their intervals, by the sum of the variances."""
    return over[0] - under[0], float(np.hypot(over[1], under[1]))
