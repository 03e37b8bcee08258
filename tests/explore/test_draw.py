"""The drawing tool: a hand's strokes as the data's own pen would have them, and the answer that the
trained model itself gives."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile import InputError
from minireptile.explore import drawing, shipped
from minireptile.explore.answer import answer, compute
from minireptile.explore.drawing import corners, image, strokes_of, text_of
from minireptile.explore.figures.draw import FIRST
from minireptile.tasks import paper
from minireptile.tasks.glyphs import glyphs
from minireptile.tasks.pen import KEPT, PAGE, PEN
from minireptile.trained import Adapted

from .replay import _right, drawn_characters
from .trace import trace

CORNER = "10101090-10908090"
QUESTION: dict[str, Any] = {
    **{"support": FIRST["support"], "query": FIRST["query"], "theta": "glyphs"},
    **{"steps": 2, "rate": 0.002, "transductive": False},
}


def painted(points: NDArray) -> NDArray:
    """What 28 x 28 pixels keep of a page, painted point by point with the whole pen."""
    page = np.ones((PAGE, PAGE))
    for x, y in points.astype(int):
        for dy in range(-PEN, PEN + 1):
            for dx in range(-PEN, PEN + 1):
                if abs(dx) + abs(dy) < 2 * PEN and 0 <= y + dy < PAGE and 0 <= x + dx < PAGE:
                    page[y + dy, x + dx] = 0
    return page[np.ix_(KEPT, KEPT)]


# ---------------------------------------------------------------------------------- strokes, images


def test_strokes_are_drawn_with_the_pen_of_the_data() -> None:
    ends = np.array([[10.0, 10], [10, 90], [80, 90]]) * PAGE / 100
    way = np.concatenate([np.linspace(ends[i], ends[i + 1], 400) for i in (0, 1)])
    middle = (way.max(0) + way.min(0)) / 2  # its size is a usual one: 84 of 105 pixels
    assert np.array_equal(image(CORNER), painted(way - middle + PAGE / 2))


def test_a_drawing_is_moved_to_the_middle() -> None:
    here = image("20204020-30202060")
    assert np.array_equal(here, image("55407540-65405580"))
    ys, xs = np.nonzero(here == 0)
    assert abs(xs.min() + xs.max() - 27) <= 1
    assert abs(ys.min() + ys.max() - 27) <= 1


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("40405040-45404550", 45, 45),  # 10.5 pixels grow
        ("00009900-00000099", 90, 90),  # 104 shrink
        ("20208020-20202080", 68, 68),  # 63 and the pen stay
        ("5050", 5, 5),  # a dot stays a dot
    ],
)
def test_a_drawing_is_brought_to_the_usual_sizes(text: str, least: int, most: int) -> None:
    points = drawing.on_page(strokes_of(text))
    size = np.ptp(points, axis=0).max() + 2 * PEN + 1
    assert least - 0.5 <= size <= most + 0.5


def test_points_of_a_stroke_lie_nearer_than_the_pen_is_wide_however_it_grows() -> None:
    points = drawing.on_page(strokes_of("4848525248525248"))
    assert np.hypot(*np.diff(points, axis=0).T).max() < 2 * PEN


def test_what_a_drawing_is_simplified_to_is_near_it() -> None:
    t = np.linspace(0, 6, 300)
    path = np.stack([50 + 40 * np.cos(t), 50 + 25 * np.sin(1.7 * t)], -1)
    kept = corners(path)
    assert len(kept) < 40
    assert np.array_equal(kept[[0, -1]], path[[0, -1]])
    ways = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(kept)])
    off = np.hypot(*(path[:, None] - ways[None]).transpose(2, 0, 1)).min(1)
    assert off.max() <= 1.05  # of a hundred: a pixel of the page


def test_a_drawing_reads_as_it_was_written() -> None:
    strokes = [np.array([[0.0, 5], [50, 99]]), np.array([[7.0, 7]])]
    assert text_of(strokes) == "00055099-0707"
    for one, other in zip(strokes_of("00055099-0707"), strokes, strict=True):
        assert np.array_equal(one, other)
    assert text_of([np.array([[-3.0, 120]])]) == "0099"


def test_letters_differ_and_hands_differ() -> None:
    seen = {image(drawing.letter(name, 0)).tobytes() for name in drawing.LETTERS}
    assert len(seen) == len(drawing.LETTERS) == 26
    assert drawing.letter("r", 1) != drawing.letter("r", 2) != ""
    assert drawing.letter("r", 1) == compute("letter", {"letter": "r", "hand": 1})["drawing"]


def test_a_task_is_dealt_from_unseen_characters_with_its_truth() -> None:
    task = compute("deal", {"way": 6, "queries": 3, "seed": 5})
    assert len(task["support"]) == 6
    assert len(set(task["truth"])) == len(task["query"]) == 3
    rng = drawing.generator(5, drawing.Stream.EXAMPLE)
    which = drawing.FIRST_UNSEEN + rng.choice(drawing.UNSEEN, 6, replace=False)
    assert task["support"] == [drawing.character(int(c), 0) for c in which]
    assert task["query"] == [drawing.character(int(which[c]), 1) for c in task["truth"]]
    assert min(which) >= 4800  # `minireptile train glyphs --classes 4800`
    assert len(compute("deal", {"way": 2, "queries": 5, "seed": 0})["query"]) == 2


# --------------------------------------------------------------------------------------- the answer


def alone(question: dict[str, Any], steps: int) -> Adapted:
    """The trained model by itself, after so many steps."""
    theta = question["theta"]
    start = mr.pretrained("glyphs" if theta == "random" else theta)
    if theta == "random":
        start = replace(start, theta=start.model.init(seed=0), state={})
    x = np.array([image(text) for text in question["support"]])
    adam = replace(start.optimizer, lr=question["rate"])  # type: ignore[type-var]
    return replace(start, steps=steps, batch=len(x), optimizer=adam).adapt(x, np.arange(len(x)))


@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize(("theta", "way"), [("glyphs", 5), ("random", 3), ("omniglot", 7)])
def test_every_step_is_the_trained_models_own(theta: str, way: int, transductive: bool) -> None:
    task = compute("deal", {"way": way, "queries": 2, "seed": 1})
    question = {**QUESTION, "theta": theta, "transductive": transductive}
    question |= {"support": task["support"], "query": task["query"]}
    found = compute("draw", question)
    assert found["probabilities"].shape == (3, 2, way)
    queries = np.array([image(text) for text in task["query"]])
    for steps, at_step in enumerate(found["probabilities"]):
        adapted = alone(question, steps)
        assert np.array_equal(at_step, adapted.probabilities(queries, transductive))
        assert np.array_equal(found["loss"][:steps], adapted.loss)
    assert np.array_equal(found["last"], found["probabilities"][-1])
    # The loss after the last step is what another step would find: the order of the sum may differ.
    assert found["loss"][-1] == pytest.approx(alone(question, 3).loss[-1], rel=1e-4)
    assert np.array_equal(found["query"], queries)


def test_cells_that_are_empty_are_left_out() -> None:
    support = ["", CORNER, "", *FIRST["support"][:2]]
    found = compute("draw", {**QUESTION, "support": support, "query": ["", CORNER]})
    assert found["classes"] == [1, 3, 4]
    assert found["queries"] == [1]
    assert found["probabilities"].shape == (3, 1, 3)
    dense = compute("draw", {**QUESTION, "support": [t for t in support if t], "query": [CORNER]})
    assert np.array_equal(found["probabilities"], dense["probabilities"])


@pytest.mark.parametrize(
    ("support", "query"),
    [([CORNER, CORNER], [""]), (["", CORNER], [CORNER]), (["", ""], [CORNER]), (["", ""], [""])],
)
def test_without_two_classes_and_a_query_nothing_is_learned(
    support: list[str], query: list[str]
) -> None:
    found = json.loads(
        answer(json.dumps(["draw", {**QUESTION, "support": support, "query": query}]))
    )
    n = sum(map(bool, support))
    assert found["ok"]["loss"]["shape"] == [0]
    assert found["ok"]["support"]["shape"] == [n, 28, 28]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"support": [CORNER]}, "a list of 2 to 10"),
        ({"support": [CORNER, "123"]}, "is no drawing"),
        ({"support": [CORNER, "1234-"]}, "is no drawing"),
        ({"support": [CORNER, "\u0661234"]}, "is no drawing"),
        ({"support": [CORNER, "p" + "A" * 522]}, "is no drawing"),
        ({"support": [CORNER, "p" + "A" * 524]}, "is no drawing"),
        ({"support": [CORNER, "1234" * 1001]}, "at most 4,000 characters"),
        ({"support": [CORNER, 1234]}, "at most 4,000 characters"),
        ({"query": [CORNER] * 6}, "a list of 1 to 5"),
        ({"theta": "sine"}, "theta"),
        ({"steps": 21}, "steps"),
        ({"rate": 0.5}, "must lie between 0.0001 and 0.01"),
        ({"transductive": 1}, "transductive"),
    ],
)
def test_a_question_that_is_wrong_is_told_so(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compute("draw", {**QUESTION, **change})


def test_replayed_tasks_are_told_apart() -> None:
    """40 queries by strokes; the table of all is `python -m tests.explore.replay`."""
    _, draws = drawn_characters(40)
    right = []
    for task in range(8):
        support, query = ([draws(5 * task + c, hand) for c in range(5)] for hand in (3, 7))
        asked = {**QUESTION, "support": support, "query": query}
        right.append(_right(asked))
    assert np.mean(right) >= 0.85


def test_a_line_is_traced_from_end_to_end() -> None:
    ink = np.zeros((105, 105), bool)
    ink[50:55, 20:80] = True
    (stroke,) = trace(ink)
    assert np.allclose(stroke[:, 1], 52.5, atol=1)
    assert np.ptp(stroke[:, 0]) > 50


# ----------------------------------------------------------------------------------------- pictures


def bars(dark: int, light: int, shape: tuple[int, int] = (60, 80)) -> NDArray[np.uint8]:
    grey = np.full(shape, light, np.uint8)
    grey[10:50, 60:64] = dark
    grey[28:32, 44:76] = dark
    return grey


def asked_of_picture(
    grey: NDArray[np.uint8], change: dict[str, Any] | None = None
) -> dict[str, Any]:
    raw = base64.b64encode(grey.tobytes()).decode()
    asked = {"grey": raw, "width": grey.shape[1], "height": len(grey)}
    return compute("picture", {**asked, **(change or {})})


def test_a_picture_is_cut_out_and_turned_dark_on_light() -> None:
    one, other = asked_of_picture(bars(20, 230)), asked_of_picture(bars(250, 10))
    assert (one["inverted"], other["inverted"]) == (False, True)
    assert one["drawing"] == other["drawing"]
    seen = image(one["drawing"])
    assert seen.dtype == np.float32
    assert (seen.min(), seen.max()) == (0, 1)
    assert np.array_equal(np.unique(np.rint(seen * 15)), np.unique(seen * 15))
    ys, xs = np.nonzero(seen < 0.5)
    assert abs(ys.mean() - 13.5) < 1
    assert np.ptp(ys) + 1 == pytest.approx(28 / paper.FRAME, abs=1.5)
    assert abs(xs.min() + xs.max() - 27) <= 1


def test_resizing_is_pillows() -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    ink = np.random.default_rng(0).integers(0, 256, (90, 70), np.uint8)
    box = (10, 20, 66, 76)
    theirs = np.asarray(pillow.fromarray(ink).resize((28, 28), box=box), float)
    ours = 255 * paper.resized(ink / 255, box, 28)
    inside = (slice(2, -2),) * 2  # at its edge, Pillow takes nothing from beyond the box
    assert np.abs(ours - theirs)[inside].max() <= 1.5  # it rounds twice


@pytest.mark.parametrize(
    ("grey", "change", "sentence"),
    [
        (np.full((9, 9), 200, np.uint8), {}, "blank"),
        (bars(0, 255), {"width": 79}, "has no 4800 grey levels"),
        (bars(0, 255), {"grey": "???"}, "base64"),
        (bars(0, 255), {"grey": None}, "base64"),
        (bars(0, 255), {"height": 106}, "height"),
    ],
)
def test_a_picture_that_is_none_is_told_so(
    grey: NDArray[np.uint8], change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        asked_of_picture(grey, change)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (3, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_any_picture_is_a_drawing_or_a_sentence(shape: tuple[int, int], seed: int) -> None:
    grey = np.random.default_rng(seed).choice(np.array([0, 90, 255], np.uint8), shape)
    raw = base64.b64encode(grey.tobytes()).decode()
    asked = {"grey": raw, "width": shape[1], "height": shape[0]}
    found = json.loads(answer(json.dumps(["picture", asked])))
    assert "the engine failed" not in found.get("error", "")
    if "ok" in found:
        assert np.isfinite(image(drawing.drawing(found["ok"]["drawing"], "it"))).all()


# ------------------------------------------------------------------------------------- the weights


@pytest.mark.parametrize("name", ["glyphs", "omniglot"])
def test_weights_are_the_same_where_nothing_reads_safetensors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.npz").write_bytes(shipped.as_npz(name))
    ours = mr.pretrained(name)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    monkeypatch.setattr(shipped, "pretrained", None)
    found = shipped.trained.__wrapped__(name)
    assert np.array_equal(found.theta, ours.theta)
    assert found.state.keys() == ours.state.keys()
    assert all(np.array_equal(found.state[n], ours.state[n]) for n in ours.state)
    assert (found.optimizer, found.steps, found.batch) == (ours.optimizer, ours.steps, ours.batch)
    assert found.card == ours.card
    x = np.array([image(text) for text in FIRST["support"]])
    one, other = (replace(t, steps=1).adapt(x, range(5)) for t in (found, ours))
    assert np.array_equal(one.outputs(x), other.outputs(x))


def test_weights_are_read_once() -> None:
    assert shipped.trained("glyphs") is shipped.trained("glyphs")


# -------------------------------------------------------------------------------------- the quiz


@pytest.mark.parametrize("way", [5, 20])
def test_the_quiz_asks_of_an_unseen_character_by_another_hand(way: int) -> None:
    found = compute("guess", {"way": way, "seed": 3})
    classes = 4800 + np.random.default_rng(3).choice(400, way, replace=False)
    for c, shown in zip(classes, found["support"], strict=True):
        assert np.array_equal(shown, glyphs(1, 1, first=int(c)).images[0, ..., 0])
    both = glyphs(1, 2, first=int(classes[found["truth"]])).images[..., 0]
    assert np.array_equal(found["query"], both[1])
    assert found["probabilities"].shape == (way,)
    assert found["probabilities"].sum() == pytest.approx(1)
