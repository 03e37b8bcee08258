"""Tasks replayed through the drawing tool, beside what the evaluation measures on the same tasks.

    python -m tests.explore.replay [TASKS] [--rate 0.001] [--steps 5] [--omniglot FOLDER]

The strokes of the drawn characters are what a hand would leave in the tool's cells; of Omniglot
there are images alone, which are traced. Each 5-way 1-shot task is asked of `draw` as the page
asks it, and given to `evaluate`, both with the weights that were trained on such: as the data's
images, and as the tool's own, which are in the middle of the page and therefore easier.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.evaluate import evaluate
from minireptile.explore import answer
from minireptile.explore.answer import FIGURES, tables
from minireptile.explore.drawing import FIRST_UNSEEN, UNSEEN, image, text_of
from minireptile.explore.shipped import trained
from minireptile.explore.values import numbers
from minireptile.rng import generator
from minireptile.tasks.base import Task
from minireptile.tasks.files.omniglot import load_omniglot
from minireptile.tasks.glyphs import glyphs, written
from minireptile.tasks.images import FewShot, ImageClasses

from .trace import trace

WAY, DRAWERS = 5, 20
Draws = Callable[[int, int], str]  # class and drawer -> drawing


class Accuracies(NamedTuple):
    """Of the tool and of the evaluation, each on its own and together, in percent."""

    tool: tuple[float, float]
    evaluation: tuple[float, float]
    evaluation_of_drawings: tuple[float, float]


def replay(
    data: ImageClasses, draws: Draws, theta: str, tasks: int = 200,
    steps: int | None = None, rate: float | None = None,
) -> Accuracies:  # fmt: skip
    """The accuracy on the same tasks both ways; steps and rate are the tool's own unless given."""
    few, model = FewShot(data, WAY), trained(theta)
    protocol = mr.Protocol(tasks=tasks, shot=1)

    def evaluation(tasks: FewShot) -> tuple[float, float]:
        found = evaluate(model.model, model.theta, model.state, tasks, model.optimizer, protocol)
        return 100 * found.accuracy, 100 * found.transductive_accuracy

    first = dict(FIGURES["draw"].first if tables() else {}, theta=theta)
    first |= {} if steps is None else {"steps": steps}
    first |= {} if rate is None else {"rate": rate}
    right = np.zeros((2, tasks))
    for i in range(tasks):
        rng = generator(protocol.seed, protocol.stream, protocol.iteration, i)
        picks = few.pick(rng, 2)
        support, query = ([draws(*divmod(int(p), DRAWERS)) for p in of] for of in picks.T)
        for transductive in (False, True):
            asked = dict(first, support=support, query=query, transductive=transductive)
            right[int(transductive), i] = _right(asked)
    tool = 100 * right.mean(1)
    return Accuracies((tool[0], tool[1]), evaluation(few), evaluation(_drawings(few, draws)))


def _drawings(few: FewShot, draws: Draws) -> FewShot:
    """The same tasks, of the images that the tool makes of the drawings."""

    class Drawings(FewShot):
        def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
            picks = self.pick(rng, shot + query)
            images = [[image(draws(*divmod(int(p), DRAWERS))) for p in row] for row in picks]
            x, y = np.array(images)[..., None], np.arange(self.n_out)
            return Task(x[:, 0], y, x[:, 1], y)

    return Drawings(few.data, few.n_out)


def _right(asked: dict[str, object]) -> float:
    """The fraction of the queries, one a class in order, that the tool tells right."""
    found = json.loads(answer(json.dumps(["draw", asked])))["ok"]
    last = numbers(WAY, WAY)(found["last"], "last")
    return float((last.argmax(1) == np.arange(WAY)).mean())


def drawn_characters(classes: int = UNSEEN) -> tuple[ImageClasses, Draws]:
    """The test characters of the generator, as images and as strokes."""

    @cache
    def strokes(c: int) -> list[NDArray]:
        return written(0, FIRST_UNSEEN + c, DRAWERS)

    def draws(c: int, drawer: int) -> str:
        return text_of([stroke[drawer] * 100 / 105 for stroke in strokes(c)])

    return glyphs(classes, DRAWERS, first=FIRST_UNSEEN), draws


def omniglot(folder: Path) -> tuple[ImageClasses, Draws]:
    """The characters that the weights of Omniglot were not trained on, as the paper's images and
    traced from the original ones."""
    test = load_omniglot(folder, seed=0).test
    originals = {}
    rows = np.genfromtxt(folder / "classes.csv", str, delimiter=",", skip_header=1)
    pages = {s: np.load(folder / f"images_{s}.npz")["images"] for s in ("background", "evaluation")}
    for _, split, row, alphabet, character, _ in rows:
        originals[f"{alphabet}/{character}"] = pages[split][int(row)]

    @cache
    def draws(c: int, drawer: int) -> str:
        page = originals[test.names[c]][drawer]
        return text_of([path * 100 / 105 for path in trace(~page)])

    return test, draws


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("tasks", type=int, nargs="?", default=200)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--omniglot", type=Path)
    given = parser.parse_args()
    theta = "omniglot" if given.omniglot else "glyphs"
    data, draws = omniglot(given.omniglot) if given.omniglot else drawn_characters()
    found = replay(data, draws, theta, given.tasks, given.steps, given.rate)
    print(f"{given.tasks} tasks, 5-way 1-shot, {theta}")
    print(f"{'':16}{'tool':>8}{'evaluate':>10}{'evaluate of drawings':>22}")
    for how, *three in zip(("each on its own", "transductive"), *found, strict=True):
        tool, data_s, drawings = (f"{percent:.1f} %" for percent in three)
        print(f"{how:16}{tool:>8}{data_s:>10}{drawings:>22}")


if __name__ == "__main__":
    main()
