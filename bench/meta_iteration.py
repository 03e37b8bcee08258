"""One meta-iteration against its matrix products alone, side by side in one run.

The paper's Omniglot setting: 5 tasks x 5 inner steps x 10 images, Adam. The matrix products are the
three of every convolution and dense layer, at the same shapes, by `numpy.matmul`. The two are timed
in turns, so that whatever else the machine does meets both; the ratio of the medians is the result.

    python -m bench.meta_iteration [--rounds N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import minireptile as mr

T, K, B = 5, 5, 10


def products(model: mr.Model, rng: np.random.Generator) -> Callable[[], None]:
    """The matrix products of one inner step: for each layer y = x w, dw = x' dy, dx = dy w'."""
    calls = []
    for step in model.plan:
        if "weight" not in step.slots:
            continue
        shape = step.slots["weight"].param.shape
        n, taps = shape[-1], int(np.prod(shape[:-1]))
        m = B * int(np.prod(step.out_shape[:-1], dtype=int))
        x, w, y = (rng.random((T, *s), np.float32) for s in ((m, taps), (taps, n), (m, n)))
        dx, dw = np.empty_like(x), np.empty_like(w)
        calls.append((x, w, y))
        calls.append((x.swapaxes(1, 2), y, dw))
        if step is not model.plan[0]:
            calls.append((y, w.swapaxes(1, 2), dx))

    def run() -> None:
        for a, b, out in calls:
            np.matmul(a, b, out=out)

    return run


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=15)
    rounds = arguments.parse_args().rounds

    rng = np.random.default_rng(0)
    model = mr.omniglot_cnn(5)
    theta, optimizer = model.init(0), mr.Adam(1e-3, beta1=0.0)
    x = rng.integers(0, 2, (K, T, B, 28, 28, 1)).astype(np.float32)
    y = rng.integers(0, 5, (K, T, B))
    one_step = products(model, rng)

    def meta_iteration() -> None:
        phi = np.repeat(theta[None], T, axis=0)
        mr.adapt(model, phi, x, y, optimizer)
        theta[:] += 0.0 * (phi.mean(0) - theta)

    def matrix_products() -> None:
        for _ in range(K):
            one_step()

    meta_iteration()
    matrix_products()
    times = [(seconds(meta_iteration), seconds(matrix_products)) for _ in range(rounds)]
    whole, alone = (median(column) for column in zip(*times, strict=True))
    print(f"meta-iteration  {1e3 * whole:7.1f} ms")
    print(f"its products    {1e3 * alone:7.1f} ms")
    print(f"ratio           {whole / alone:7.2f}")


if __name__ == "__main__":
    main()
