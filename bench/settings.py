"""The meta-iterations that are measured: a network, its data, and the numbers of the two loops."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.optim import Optimizer


@dataclass(frozen=True)
class Setting:
    """A meta-iteration: T tasks, k inner steps, mini-batches of B; the defaults are Omniglot's.

    `size` and `filters` are those of the networks for images; the sine network has its own.
    """

    network: str = "omniglot"
    tasks: int = 5
    steps: int = 5
    batch: int = 10
    size: int = 28
    filters: int = 64

    def __str__(self) -> str:
        return f"{self.network} {self.tasks}x{self.steps}x{self.batch}"

    def model(self, backend: str = "numpy") -> mr.Model:
        if self.network == "sine":
            return mr.sine_mlp(backend=backend)
        if self.network == "mini-imagenet":
            shape = (self.size, self.size, 3)
            return mr.miniimagenet_cnn(5, self.filters, shape, backend=backend)
        return mr.omniglot_cnn(5, self.filters, (self.size, self.size, 1), backend=backend)

    @property
    def optimizer(self) -> Optimizer:
        """The paper's inner optimizer."""
        return mr.SGD(0.02) if self.network == "sine" else mr.Adam(1e-3, beta1=0.0)

    def data(self, seed: int = 0) -> tuple[NDArray, NDArray]:
        """Random mini-batches: x (k, T, B, ...), float32, and y (k, T, B) or (k, T, B, 1)."""
        rng = np.random.default_rng(seed)
        lead = self.steps, self.tasks, self.batch
        if self.network == "sine":
            x = rng.uniform(-5, 5, (*lead, 1)).astype(np.float32)
            return x, np.sin(x)
        if self.network == "mini-imagenet":
            x = rng.random((*lead, self.size, self.size, 3), np.float32)
        else:
            x = rng.integers(0, 2, (*lead, self.size, self.size, 1)).astype(np.float32)
        return x, rng.integers(0, 5, lead)


OMNIGLOT = Setting()
MINIIMAGENET = Setting("mini-imagenet", steps=8, size=84, filters=32)
QUICK = Setting(tasks=2, steps=2, batch=5, filters=16)
SINE = Setting("sine", tasks=1)
