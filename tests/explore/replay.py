"""Tasks replayed through the drawing tool, beside what the evaluation measures on the same tasks.

    python -m tests.explore.replay [TASKS] [--rate 0.001] [--steps 5] [--omniglot DIR] [--browser]

The strokes of the drawn characters are what a hand would leave in the tool's cells; of Omniglot
there are images alone, which are traced. Each 5-way 1-shot task is asked of `draw` as the page
asks it, and given to `evaluate`, both with the weights that were trained on such: as the data's
images, and as the tool's own, which are in the middle of the page and therefore easier. With
--browser, a mouse draws the examples and one query of each task in Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.evaluate import evaluate
from minireptile.explore import answer
from minireptile.explore.answer import FIGURES, compute, tables
from minireptile.explore.drawing import FIRST_UNSEEN, UNSEEN, image, text_of
from minireptile.explore.shipped import trained
from minireptile.explore.values import numbers
from minireptile.rng import generator
from minireptile.tasks.base import Task
from minireptile.tasks.files.omniglot import load_omniglot
from minireptile.tasks.glyphs import glyphs, written
from minireptile.tasks.images import FewShot, ImageClasses

from .conftest import FLAGS, Page
from .measure import serving
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


def by_mouse(data: ImageClasses, draws: Draws, theta: str, tasks: int = 200) -> tuple[float, float]:
    """The accuracy in percent, of one query a task, when a mouse draws in the page; and of the same
    drawings when they are asked of `draw`."""
    few, protocol = FewShot(data, WAY), mr.Protocol(tasks=tasks, shot=1)
    from playwright.sync_api import sync_playwright

    right = np.zeros((2, tasks))
    with serving("local") as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        page = Page(tab, address, "local")
        tab.goto(address)
        page.figure("draw").locator("select[name=theta]").select_option(theta)
        for i in range(tasks):
            rng = generator(protocol.seed, protocol.stream, protocol.iteration, i)
            support, query = few.pick(rng, 2).T
            asked_for = int(rng.integers(WAY))
            drawings = [draws(*divmod(int(p), DRAWERS)) for p in [*support, query[asked_for]]]
            tab.locator("#draw [data-clear]").click()
            for cell, text in zip(tab.locator("#draw .pad").all(), drawings, strict=True):
                draw_by_mouse(page, cell, text)
            page.settle("draw")
            last = tab.evaluate("[...document.getElementById('draw').figure.answers.draw.last]")
            right[0, i] = int(np.argmax(last)) == asked_for
            given = dict(FIGURES["draw"].first, theta=theta, support=drawings[:-1])
            found = compute("draw", {**given, "query": drawings[-1:]})
            right[1, i] = int(found["last"].argmax()) == asked_for
        browser.close()
    by_hand, direct = 100 * right.mean(1)
    return float(by_hand), float(direct)


def draw_by_mouse(page: Page, cell: Any, text: str) -> None:
    """The strokes of a drawing, from point to point."""
    box, mouse = cell.bounding_box(), page.tab.mouse
    for stroke in text.split("-"):
        points = [
            (int(stroke[i : i + 2]), int(stroke[i + 2 : i + 4])) for i in range(0, len(stroke), 4)
        ]
        places = [
            (box["x"] + box["width"] * (x + 0.5) / 100, box["y"] + box["height"] * (y + 0.5) / 100)
            for x, y in points
        ]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place)
        mouse.up()


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
    parser.add_argument("--browser", action="store_true")
    given = parser.parse_args()
    theta = "omniglot" if given.omniglot else "glyphs"
    data, draws = omniglot(given.omniglot) if given.omniglot else drawn_characters()
    if given.browser:
        by_hand, direct = by_mouse(data, draws, theta, given.tasks)
        print(
            f"{given.tasks} tasks, a query of each: {by_hand:.1f} % by mouse, {direct:.1f} % asked"
        )
        return
    found = replay(data, draws, theta, given.tasks, given.steps, given.rate)
    print(f"{given.tasks} tasks, 5-way 1-shot, {theta}")
    print(f"{'':16}{'tool':>8}{'evaluate':>10}{'evaluate of drawings':>22}")
    for how, *three in zip(("each on its own", "transductive"), *found, strict=True):
        tool, data_s, drawings = (f"{percent:.1f} %" for percent in three)
        print(f"{how:16}{tool:>8}{data_s:>10}{drawings:>22}")


if __name__ == "__main__":
    main()
