"""The characters that the experiments on images are made on, and how they are measured there."""

from numpy.typing import NDArray

from ..evaluate import Protocol, evaluate
from ..lots import Map
from ..model import Model
from ..optim import Optimizer, State
from ..tasks.files.omniglot import load_omniglot
from ..tasks.glyphs import glyph_splits
from ..tasks.images import FewShot


def characters(quick: bool, data: str = "", way: int = 5) -> tuple[FewShot, FewShot, str]:
    """Tasks to train on and to test on, and what of: Omniglot's characters where its folder is
    given, else drawn ones, few of them if it is to be quick."""
    if data:
        of, splits = "Omniglot", load_omniglot(data, seed=0, split="random", rotations=not quick)
    else:
        classes = 30 if quick else 1200
        of = "drawn characters"
        splits = glyph_splits(train_classes=classes, drawers=26, seed=0, rotations=not quick)
    return FewShot(splits.train, way), FewShot(splits.test, way), of


def accuracy(
    model: Model, theta: NDArray, state: State, test: FewShot, tasks: int, optimizer: Optimizer,
    workers: Map | None = None,
) -> dict[str, float]:  # fmt: skip
    """As in the paper's running evaluation: after 5 steps on mini-batches of 25."""
    protocol = Protocol(tasks=tasks, shot=5, marks=(5,), batch=25)
    found = evaluate(model, theta, state, test, optimizer, protocol, map=workers or map)
    half = found.transductive_accuracy_ci95 or 0.0
    return {"accuracy": found.transductive_accuracy, "ci95": half}
