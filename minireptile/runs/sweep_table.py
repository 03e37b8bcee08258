"""What a sweep found: for each combination of settings, means over seeds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measures import Measure
from .seeds import student
from .sweep import Cell, Standing

NOTE = (
    "mean over seeds ± half its 95 % interval, by Student's t with n - 1 degrees of freedom for "
    "n seeds"
)


@dataclass(frozen=True)
class Row:
    """A combination of settings. The runs differ in their seeds alone."""

    values: Mapping[str, Any]
    figures: Mapping[str, NDArray]  # by name, one of each complete run
    seeds: list[int]  # theirs
    failed: Mapping[int, str]  # by seed, why
    begun: list[int]  # the seeds whose runs are not complete

    @property
    def means(self) -> dict[str, tuple[float, float | None]]:
        """Each figure's mean, and half its interval: None of a single seed."""
        found = {name: student(values) for name, values in self.figures.items() if len(values)}
        return {n: (mean, half if np.isfinite(half) else None) for n, (mean, half) in found.items()}


def rows(standings: Mapping[Cell, Standing]) -> list[Row]:
    """A row for each combination, in the order of the cells."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in standings:
        groups.setdefault(tuple(cell.values.items()), []).append(cell)
    return [_row(group, standings) for group in groups.values()]


def _row(cells: list[Cell], standings: Mapping[Cell, Standing]) -> Row:
    figures: dict[str, list[float]] = {}
    seeds, failed, begun = [], {}, []
    for cell in cells:
        seed, standing = cell.settings.seed, standings[cell]
        if standing.done and standing.values:
            seeds.append(seed)
            for name, value in _shown(cell.measure, standing.values):
                figures.setdefault(name, []).append(value)
        elif standing.failed:
            failed[seed] = standing.failed
        else:
            begun.append(seed)
    return Row(cells[0].values, {n: np.array(v) for n, v in figures.items()}, seeds, failed, begun)


def _shown(
    measure: Measure, values: Mapping[str, tuple[float, Any]]
) -> Iterable[tuple[str, float]]:
    """All accuracies; of the errors after more and more steps, the last."""
    first = measure.figure[0]
    for name, (value, _) in list(values.items())[first:]:
        yield name if first == 0 else measure.axis, value


def table(found: list[Row], measure: Measure) -> list[list[str]]:
    """For a person; the first line is the head."""
    names = list(found[0].values)
    figures = list(dict.fromkeys(name for row in found for name in row.figures))
    lines = [[*(name.replace("_", "-") for name in names), *figures, "seeds", ""]]
    for row in found:
        means = row.means
        failed = ", ".join(map(str, row.failed))
        notes = [f"seed{'s' * (len(row.failed) > 1)} {failed} failed"] * bool(failed)
        notes += [f"{len(row.begun)} to do"] * bool(row.begun)
        lines.append([
            *map(str, row.values.values()), *(_cell(means.get(n), measure) for n in figures),
            str(len(row.seeds)), ", ".join(notes),
        ])  # fmt: skip
    if not any(line[-1] for line in lines):
        lines = [line[:-1] for line in lines]
    return lines if names else [["", *lines[0]], *(["all", *line] for line in lines[1:])]


def _cell(figure: tuple[float, float | None] | None, measure: Measure) -> str:
    """A mean and half its interval, with as many decimals."""
    if figure is None:
        return "-"
    mean, half = figure
    text = f"{mean:.2f}" if measure.scale == "linear" else f"{mean:#.3g}".removesuffix(".")
    form = "#.3g" if "e" in text else f".{len(text.partition('.')[2])}f"
    return text if half is None else f"{text} ± {half:{form}}"


def records(found: list[Row]) -> list[dict[str, Any]]:
    """For a program: accuracies in %, as in the table."""
    return [
        {
            "settings": dict(row.values), "seeds": row.seeds,
            "figures": {
                name: {"mean": mean, "ci95": half, "values": row.figures[name].tolist()}
                for name, (mean, half) in row.means.items()
            },
            "failed": {str(seed): why for seed, why in row.failed.items()}, "to_do": row.begun,
        }
        for row in found
    ]  # fmt: skip
