"""The methods: a family tree, and what each is reported to reach.

Published figures are those that bench/results/README.md and its sources quote; measured ones are
this project's own, from the same page. Accuracies are in %, 5-way 1-shot.
"""

from __future__ import annotations

from typing import Any

from ..answer import Figure, call, figure


def method(
    name: str, year: int | None, says: str,
    omniglot: tuple[Any, ...] = (None, None), miniimagenet: tuple[Any, ...] = (None, None),
    sine: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A method; its accuracies as (published, measured here), each [percent, half an interval], and
    its error on sine waves, measured here."""
    return {
        "name": name, "year": year, "says": says, "sine": sine,
        "omniglot": omniglot, "miniimagenet": miniimagenet,
    }  # fmt: skip


METHODS = {
    "joint": method(
        "Joint training", None,
        "One network for the average of all tasks, as if they were one. No method of its own, but "
        "what every method has to beat.", sine=3.99,
    ),
    "matching": method(
        "Matching networks", 2016,
        "Label a new example like the support examples that a learned embedding puts near it.",
    ),
    "prototypical": method(
        "Prototypical networks", 2017,
        "Take the class whose mean embedding, its prototype, is nearest.",
    ),
    "relation": method(
        "Relation networks", 2018,
        "Learn the comparison, too: a second network says how alike two embeddings are.",
    ),
    "mann": method(
        "Memory-augmented networks", 2016,
        "A recurrent network reads examples with their labels and keeps them in a memory.",
    ),
    "snail": method(
        "SNAIL", 2017,
        "Convolutions over time and attention read the support set as a sequence.",
    ),
    "maml": method(
        "MAML", 2017,
        "Follow the exact gradient of the loss after the inner steps, back through every step: "
        "second derivatives.",
        ([98.7, 0.4], [95.02, 0.63]), ([48.70, 1.84], None), 0.026,
    ),
    "fomaml": method(
        "FOMAML", 2017,
        "MAML without the second derivatives: the gradient where the inner steps end, applied "
        "where they began.",
        ([98.3, 0.5], [93.98, 0.69]), ([48.07, 1.75], None), 0.063,
    ),
    "reptile": method(
        "Reptile", 2018,
        "Take several steps on a task, and move the initialisation towards where they end.",
        ([97.68, 0.04], [97.40, 0.15]), ([49.97, 0.32], [42.60, 0.99]), 0.116,
    ),
    "imaml": method(
        "iMAML", 2019,
        "Solve each task near θ, and get the exact gradient from the solution alone, whatever way "
        "led there.",
        ([99.16, 0.35], None), ([48.96, 1.84], None), 0.085,
    ),
}  # fmt: skip


@call()
def methods() -> dict[str, Any]:
    """Every method."""
    return METHODS


figure(Figure("tree", ("methods",), {}, own={"pick": "reptile", "data": "omniglot"}))
