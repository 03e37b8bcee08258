"""A model as a table: shapes, parameters, and where the work of a forward pass is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from .backend import kernels
from .kernels.operations import OPERATIONS
from .layers import Shape, Stage
from .plan import Plan, Step

HEADINGS = ("layer", "output", "parameters", "operations", "share")
FOOT = "operations of one example's forward pass; a multiplication and an addition are two"


class LayerSummary(NamedTuple):
    """A row of a `Summary`."""

    name: str
    out_shape: Shape
    parameters: int
    operations: int  # floating-point ones of a forward pass of one example


@dataclass(frozen=True, repr=False)
class Summary:
    """What `Model.summary` gives: a table as text, in a notebook and to rich, and its numbers.

    Parameters
    ----------
    title : str
        The model in a line.
    layers : tuple of LayerSummary
        In order: name, out_shape, parameters, operations.
    """

    title: str
    layers: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        """Of all layers: P."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def operations(self) -> int:
        """Floating-point operations of a forward pass of one example, as kernels/operations.py
        counts them; what a layer of one's own does without kernels is not seen."""
        return sum(layer.operations for layer in self.layers)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The table's cells under `HEADINGS`, the totals last."""
        total = self.operations or 1
        for name, shape, parameters, operations in self.layers:
            share = f"{operations / total:.1%}"
            yield name, _times(shape), f"{parameters:,}", f"{operations:,}", share
        yield "total", "", f"{self.parameters:,}", f"{self.operations:,}", ""

    def __repr__(self) -> str:
        *rows, totals = [HEADINGS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, totals, strict=True)]
        rule = "-" * (sum(widths) + 2 * len(widths) - 2)
        first, *others = (_line(row, widths) for row in rows)
        return "\n".join([self.title, "", first, rule, *others, rule, _line(totals, widths), FOOT])

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...], tag: str = "td") -> str:
            aligned = zip(("left", "left", "right", "right", "right"), cells, strict=True)
            return "".join(
                f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
                for side, cell in aligned
            )

        *rows, totals = self.rows()
        body = "".join(f"<tr>{row(cells)}</tr>" for cells in rows)
        return (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{row(HEADINGS, 'th')}"
            f"</tr></thead><tbody>{body}</tbody><tfoot><tr>{row(totals, 'th')}</tr></tfoot></table>"
            f"<p>{FOOT}</p>"
        )

    def __rich__(self) -> Any:
        from rich.table import Table  # it is rich that asks

        table = Table(title=self.title, caption=FOOT, show_footer=True)
        *rows, totals = self.rows()
        for i, (heading, total) in enumerate(zip(HEADINGS, totals, strict=True)):
            table.add_column(heading, total, justify="right" if i > 1 else "left")
        for cells in rows:
            table.add_row(*cells)
        return table


def summary_of(plan: Plan, dtype: np.dtype) -> Summary:
    """The table of a plan's layers."""
    return Summary(
        f"Model of {plan.size:,} parameters, input {_times(plan.input_shape)}, {plan.loss}",
        tuple(
            LayerSummary(
                step.name,
                step.out_shape,
                sum(slot.stop - slot.start for slot in step.slots.values()),
                _operations(step, dtype),
            )
            for step in plan.steps
        ),
    )


def _operations(step: Step, dtype: np.dtype) -> int:
    """Of a step's forward pass on one example: what the kernels that it calls would do."""
    x, y = (np.zeros((1, 1, *shape), dtype) for shape in (step.in_shape, step.out_shape))
    p = {name: np.zeros((1, *slot.param.shape), dtype) for name, slot in step.slots.items()}
    counter = _Counter()
    with np.errstate(all="ignore"):  # of a layer that computes by itself, on zeros
        step.layer.forward(counter, Stage(x, y, None, None, p, {}, step.layer.saved(
            1, 1, step.in_shape, dtype)))  # fmt: skip
    return counter.operations


class _Counter:
    """Stands where kernels are expected, and counts what they would do."""

    operations = 0

    def __getattr__(self, name: str) -> Any:
        names = signature(getattr(kernels("numpy"), name)).parameters

        def count(*arguments: Any) -> None:
            if name in OPERATIONS:  # and not an addition of arrays, which is no operation
                self.operations += OPERATIONS[name].flops(dict(zip(names, arguments, strict=True)))

        return count


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    left, right = zip(cells[:2], widths[:2], strict=True), zip(cells[2:], widths[2:], strict=True)
    texts = [*(c.ljust(w) for c, w in left), *(c.rjust(w) for c, w in right)]
    return "  ".join(texts).rstrip()


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))
