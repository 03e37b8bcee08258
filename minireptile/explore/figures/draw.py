"""The drawing tool: classes by one example each, and what a query is, after every step."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...head import with_outputs
from ...reptile import adapt
from ...rng import Stream, generator
from ...tasks.base import minibatches
from ...tasks.pen import PAGE
from ...trained import Adapted, Trained
from .. import drawing
from ..answer import Figure, call, figure
from ..computes import backend
from ..shipped import trained
from ..values import count, listed, one_of, real, truth

WAYS, QUERIES, STEPS = 10, 5, 20  # at most: what a slow core does in a second
RATE = real(1e-4, 0.01)


@call(
    support=listed(drawing.drawing, 2, WAYS),
    query=listed(drawing.drawing, 1, QUERIES),
    theta=one_of("random", "glyphs", "omniglot"),
    steps=count(0, STEPS),
    rate=RATE,
    transductive=truth,
)
def draw(
    support: list[str], query: list[str], theta: str, steps: int, rate: float, transductive: bool
) -> dict[str, Any]:
    """What the network sees of the drawings that are there, (n, 28, 28) and (m, 28, 28), and their
    places; the loss on the n examples before any step and after each, (steps + 1,), and each
    query's probabilities, (steps + 1, m, n). Fewer than two classes, or no query: no steps."""
    classes = [i for i, text in enumerate(support) if text]
    queries = [i for i, text in enumerate(query) if text]
    examples, others = _images(support, classes), _images(query, queries)
    ready = len(classes) > 1 and len(queries) > 0
    if ready:
        start = initialisation(theta, steps, rate, len(classes))
        loss, probabilities = learn(start, examples, others, transductive)
    else:
        loss, probabilities = np.empty(0), np.empty((0, len(queries), len(classes)))
    return {
        "classes": classes,
        "queries": queries,
        "support": examples,
        "query": others,
        "loss": loss,
        "probabilities": probabilities,
        "last": probabilities[-1] if ready else np.empty((len(queries), 0)),
    }


def _images(drawings: list[str], which: list[int]) -> NDArray[np.float32]:
    return np.array([drawing.image(drawings[i]) for i in which], np.float32).reshape(-1, 28, 28)


def initialisation(theta: str, steps: int, rate: float, batch: int) -> Trained:
    """A theta before meta-training, or after it, and how it is adapted: on all examples at once."""
    found = trained("glyphs" if theta == "random" else theta, backend())
    if theta == "random":
        found = replace(found, theta=found.model.init(seed=0), state={})
    optimizer = replace(found.optimizer, lr=rate)  # type: ignore[type-var]  # Adam
    return replace(found, optimizer=optimizer, steps=steps, batch=batch)


def learn(
    start: Trained, examples: NDArray, others: NDArray, transductive: bool
) -> tuple[NDArray, NDArray]:
    """`Trained.adapt` with one example a class, looked at before the first step and after each."""
    n = len(examples)
    model, theta, state = with_outputs(start.model, start.theta, start.state, n)
    start = replace(start, model=model, theta=theta, state=state)
    x, y, classes = start.examples(examples), np.arange(n), np.arange(n)
    order = minibatches(generator(start.seed, Stream.EXAMPLE), n, start.steps, n, False)
    phi, state = theta.copy(), {s: np.array(a) for s, a in state.items()}
    state = state or start.optimizer.init(phi)
    loss: list[float] = []
    probabilities = []
    for i in range(start.steps + 1):
        now = Adapted(start, phi, state, x, np.array(loss), classes)
        probabilities.append(now.probabilities(others, transductive))
        if i < start.steps:
            loss += list(adapt(model, phi, x[order[i : i + 1]], y[order[i : i + 1]],
                               start.optimizer, state))  # fmt: skip
    loss.append(float(model.loss_and_grad(phi, x, y)[0]))
    return np.array(loss), np.array(probabilities)


@call(way=count(2, WAYS), queries=count(1, QUERIES), seed=count(0, 10**6))
def deal(way: int, queries: int, seed: int) -> dict[str, Any]:
    """A task of characters that no weights were trained on, and the class of each query."""
    rng = generator(seed, Stream.EXAMPLE)
    which = drawing.FIRST_UNSEEN + rng.choice(drawing.UNSEEN, way, replace=False)
    truth = rng.choice(way, min(queries, way), replace=False).tolist()
    return {
        "support": [drawing.character(int(c), 0) for c in which],
        "query": [drawing.character(int(which[c]), 1) for c in truth],
        "truth": truth,
    }


@call(letter=one_of(*drawing.LETTERS), hand=count(0, 10**6))
def letter(letter: str, hand: int) -> dict[str, Any]:
    """A letter of the alphabet, for a key pressed in a cell."""
    return {"drawing": drawing.letter(letter, hand)}


def bytes_of(value: Any, what: str) -> bytes:
    """Bytes in base64, at most a page of them."""
    try:
        if isinstance(value, str) and len(value) <= 2 * PAGE * PAGE:
            return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        pass
    raise InputError(f"{what} must be at most {PAGE} x {PAGE} bytes in base64")


@call(grey=bytes_of, width=count(1, PAGE), height=count(1, PAGE))
def picture(grey: bytes, width: int, height: int) -> dict[str, Any]:
    """A person's own picture as a drawing: found on its paper, cut out, dark on light."""
    if len(grey) != width * height:
        raise InputError(f"a picture of {width} x {height} has no {len(grey)} grey levels")
    levels = np.frombuffer(grey, np.uint8).reshape(height, width) / 255
    text, inverted = drawing.picture(levels)
    return {"drawing": text, "inverted": inverted}


def code(state: Mapping[str, Any]) -> str:
    """The lines behind the figure."""
    support, query = ([text for text in state[n] if text] for n in ("support", "query"))
    if len(support) < 2 or not query:
        return "# Draw an example of two classes, and a query."
    random = state["theta"] == "random"
    name = "glyphs" if random else state["theta"]
    before = "trained = replace(trained, theta=trained.model.init(seed=0), state={})\n"
    return f"""
from dataclasses import replace

import numpy as np
import minireptile as mr
from minireptile.explore.drawing import image                   # strokes, as the network sees them

support = {_broken(support)}
query = {_broken(query)}
x, y = np.array([image(text) for text in support]), np.arange({len(support)})
trained = mr.pretrained({name!r})
{before if random else ""}trained = replace(trained, steps={state["steps"]}, batch=len(x),
                  optimizer=replace(trained.optimizer, lr={state["rate"]}))
adapted = trained.adapt(x, y)
last = adapted.probabilities(np.array([image(text) for text in query]),
                             transductive={state["transductive"]})
"""


def _broken(drawings: list[str]) -> str:
    return "[\n" + "".join(f"    {text!r},\n" for text in drawings) + "]"


FIRST = deal(5, 1, 0)

figure(
    Figure(
        "draw",
        ("draw",),
        {
            "support": FIRST["support"],
            "query": FIRST["query"],
            "theta": "glyphs",
            "steps": 5,
            "rate": 0.003,
            "transductive": False,
        },
        code,
        {"last": "last"},
        own={"shown": 0, "truth": FIRST["truth"]},
    )
)
