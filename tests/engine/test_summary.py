"""The table of a model, as text, to rich and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest

import minireptile as mr
from minireptile.summary import FOOT

TINY = """\
Model of 62 parameters, input 4 x 4 x 1, softmax_cross_entropy

layer       output     parameters  operations  share
----------------------------------------------------
conv1       2 x 2 x 3          30         216  60.7%
batchnorm1  2 x 2 x 3           6          72  20.2%
relu1       2 x 2 x 3           0          12   3.4%
maxpool1    1 x 1 x 3           0          12   3.4%
flatten1    3                   0           0   0.0%
dense1      4                  16          24   6.7%
tanh1       4                   0           4   1.1%
dense2      2                  10          16   4.5%
----------------------------------------------------
total                          62         356
"""


def tiny(**more: Any) -> mr.Model:
    layers = [
        mr.Conv2D(3, 3, stride=2), mr.BatchNorm(), mr.ReLU(), mr.MaxPool(2), mr.Flatten(),
        mr.Dense(4), mr.Tanh(), mr.Dense(2),
    ]  # fmt: skip
    return mr.Model(layers, (4, 4, 1), **more)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_text(dtype: str) -> None:
    """The work by hand: 2 (2 2 3) (3 3 1) for the convolution, 2 (3 4) for the dense layer."""
    summary = tiny(dtype=dtype).summary()
    assert str(summary) == TINY + FOOT
    assert summary.parameters == tiny().size
    assert summary.operations == sum(layer.operations for layer in summary.layers)
    assert summary.layers[0] == ("conv1", (2, 2, 3), 30, 216)


class Cells(HTMLParser):
    """The texts of a table's cells."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("td", "th"):
            self.found.append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found[-1] += data


def test_as_html_and_to_rich() -> None:
    rich = pytest.importorskip("rich.console")
    summary = tiny().summary()
    wanted = [cell for cells in summary.rows() for cell in cells]
    cells = Cells()
    cells.feed(summary._repr_html_())
    assert cells.found[5:] == wanted
    console = rich.Console(file=StringIO(), width=90)
    console.print(summary)
    printed = " ".join(console.file.getvalue().split())
    assert all(cell in printed for cell in [*wanted, FOOT])


def test_a_model_without_parameters_and_a_layer_of_ones_own() -> None:
    @dataclass(frozen=True)
    class Third(mr.Layer):
        def forward(self, k: Any, a: Any) -> None:
            k.relu_forward(a.y, a.x)
            k.add(a.y, a.x)
            a.y[...] /= a.x.sum()

    summary = mr.Model([Third()], (3,)).summary()
    assert summary.layers == (("third1", (3,), 0, 3),)
    assert (summary.parameters, summary.operations) == (0, 3)
    assert "0.0%" in str(mr.Model([mr.Flatten()], (2, 1)).summary())
