"""What 06 ends with: a learner's own functions read drawn characters."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.tasks.glyphs import glyphs

from ..learner import passed_module, shown
from .activations import EXERCISE as ACTIVATIONS
from .batchnorm import EXERCISE as BATCHNORM
from .cross_entropy import EXERCISE as CROSS_ENTROPY
from .dense import EXERCISE as DENSE

CLASSES, DRAWERS, UNSEEN = 10, 20, 5  # of each character, the last five drawings are for the test
FILTERS, STEPS, B, LEARNING_RATE = 8, 120, 25, 0.05

Arrays = dict[str, NDArray]


class Network:
    """Two convolutions with batch normalisation and ReLU, then a dense layer."""

    def __init__(self, convolution: ModuleType, folder: Path) -> None:
        self.convolution = convolution
        self.dense, self.activations, self.cross_entropy, self.batchnorm = (
            passed_module(e, folder) for e in (DENSE, ACTIVATIONS, CROSS_ENTROPY, BATCHNORM)
        )

    def draw(self, rng: np.random.Generator) -> Arrays:
        """Weights to start from; 28 pixels are 14 after one convolution and 7 after two."""
        p = {}
        for layer, channels in (("1", 1), ("2", FILTERS)):
            p[f"w{layer}"] = rng.standard_normal((3, 3, channels, FILTERS)) / np.sqrt(9 * channels)
            p[f"b{layer}"], p[f"beta{layer}"] = np.zeros((2, FILTERS))
            p[f"gamma{layer}"] = np.ones(FILTERS)
        inputs = 7 * 7 * FILTERS
        p["w"], p["b"] = rng.standard_normal((inputs, CLASSES)) / np.sqrt(inputs), np.zeros(CLASSES)
        return p

    def forward(self, p: Arrays, x: NDArray) -> tuple[NDArray, list[NDArray]]:
        """The logits, and what each step was given, for the way back."""
        kept = []
        for layer in "12":
            y = self.convolution.forward(x, p[f"w{layer}"], p[f"b{layer}"])
            rows = y.reshape(-1, FILTERS)
            normal = self.batchnorm.forward(rows, p[f"gamma{layer}"], p[f"beta{layer}"])
            kept += [x, rows, normal.reshape(y.shape)]
            x = self.activations.relu(kept[-1])
        kept += [x, self.convolution.flatten(x)]
        return self.dense.forward(kept[-1], p["w"], p["b"]), kept

    def gradient(self, p: Arrays, x: NDArray, labels: NDArray) -> tuple[float, Arrays]:
        """The loss of a mini-batch, and its gradient by every parameter."""
        logits, kept = self.forward(p, x)
        loss, g = float(self.cross_entropy.cross_entropy(logits, labels)), {}
        dy, _ = self.cross_entropy.backward(1.0, logits, labels)
        dy, g["w"], g["b"] = self.dense.backward(dy, kept.pop(), p["w"], p["b"])
        dy = self.convolution.unflatten(dy, kept.pop())
        for layer in "21":
            gamma, beta, w, b = (f"{name}{layer}" for name in ("gamma", "beta", "w", "b"))
            dy = self.activations.relu_backward(dy, kept.pop()).reshape(-1, FILTERS)
            rows = kept.pop()
            dy, g[gamma], g[beta] = self.batchnorm.backward(dy, rows, p[gamma], p[beta])
            x = kept.pop()
            dy = dy.reshape(len(x), (x.shape[1] + 1) // 2, -1, FILTERS)
            dy, g[w], g[b] = self.convolution.backward(dy, x, p[w], p[b])
        return loss, g


def finish(convolution: ModuleType, folder: Path) -> str:
    """Train the network; say how well it reads before and after."""
    network = Network(convolution, folder)
    data = glyphs(CLASSES, DRAWERS, seed=3)
    images = 1 - data.images.reshape(CLASSES, DRAWERS, 28, 28, 1).astype(float)  # 1 is ink
    seen, unseen = images[:, :-UNSEEN].reshape(-1, 28, 28, 1), images[:, -UNSEEN:]
    labels = np.arange(CLASSES).repeat(DRAWERS - UNSEEN)
    print(
        f"\nYour functions of 01, 02, 03, 05 and 06 are a network now. It looks at {len(seen)} "
        f"drawings of {CLASSES} characters\nand takes {STEPS} steps down your own gradients ...",
        flush=True,
    )

    def read(p: Arrays) -> NDArray:
        logits, _ = network.forward(p, unseen.reshape(-1, 28, 28, 1))
        return logits.argmax(1).reshape(CLASSES, UNSEEN)

    rng = np.random.default_rng(0)
    p, losses = network.draw(rng), []
    before = read(p)
    for _ in range(STEPS):
        chosen = rng.choice(len(seen), B, replace=False)
        loss, g = network.gradient(p, seen[chosen], labels[chosen])
        p = {name: p[name] - LEARNING_RATE * g[name] for name in p}
        losses.append(loss)
    after = read(p)
    right = np.arange(CLASSES)[:, None]
    said = (
        f"Of {unseen.shape[0] * UNSEEN} drawings by other hands it read "
        f"{(before == right).mean():.0%} right before, and {(after == right).mean():.0%} after; "
        f"the loss went from {losses[0]:.2f} to {np.mean(losses[-10:]):.2f}."
    )
    return f"{said}\n{picture(folder / '06_convolution.png', losses, unseen, after)}"


def picture(path: Path, losses: list[float], unseen: NDArray, read: NDArray) -> str:
    """Save the loss and the drawings that were read; say where, or why there is no picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "The picture was left out: matplotlib is not installed (pip install matplotlib)."
    figure: Any = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes = left.subplots()
    axes.plot(losses, color="tab:blue")
    axes.set(xlabel="step", ylabel="loss of the mini-batch", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    right.suptitle("Drawings by other hands: read right, or wrong (red)", fontsize=10)
    for c, row in enumerate(right.subplots(UNSEEN, CLASSES, squeeze=False).T):
        for d, cell in enumerate(row):
            cell.imshow(unseen[c, d, ..., 0], cmap="gray_r" if read[c, d] == c else "Reds")
            cell.set_axis_off()
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        return f"The picture could not be saved in {shown(path)}: {error.strerror or error}."
    return f"A picture of it: {shown(path)}"
