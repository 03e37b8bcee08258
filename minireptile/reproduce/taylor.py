"""Claim: to first order in alpha, the three algorithms' expected updates are
    MAML      1 AvgGrad - 2 (k - 1) alpha AvgGradInner
    FOMAML    1 AvgGrad -   (k - 1) alpha AvgGradInner
    Reptile   k AvgGrad - k (k - 1) / 2 alpha AvgGradInner
with AvgGrad = E[g_i] and AvgGradInner = E[H_i g_j], all at theta.
Source: Nichol, Achiam & Schulman, 2018, section 5.1. Derivation: kernels/taylor.md.

Measured: the updates themselves, by k SGD steps and exact Hessian-vector products, regressed on
AvgGrad and alpha AvgGradInner. Each task's mini-batches take every place in the inner loop once
(cyclic shifts), so that no place has luckier ones (taylor.md, eq. 11).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import Loops
from ..model import Model
from ..networks import sine_mlp
from ..optim import SGD
from ..reptile import reptile
from ..tasks.sine import Sine
from .outcome import Finding, Outcome, student, weakest

ALPHA = 1e-5
OFF = 0.02  # of a coefficient: more than an expansion leaves out at so small an alpha
ALPHAS = tuple(10.0**-p for p in (2.0, 2.5, 3.0, 3.5))
RESAMPLES = 1000
Gradient = Callable[[NDArray, int], NDArray]  # of mini-batch i at phi (T, P)
Product = Callable[[NDArray, int, NDArray], NDArray]  # H_i(phi) v


def coefficients(k: int) -> dict[str, tuple[float, float]]:
    """What the expansion says: of AvgGrad, and of alpha AvgGradInner (taylor.md, eq. 8)."""
    return {
        "MAML": (1.0, -2.0 * (k - 1)),
        "FOMAML": (1.0, -1.0 * (k - 1)),
        "Reptile": (float(k), -k * (k - 1) / 2),
    }


def updates(
    g: Gradient, hv: Product, theta: NDArray, order: list[int], alpha: float | NDArray
) -> dict[str, NDArray]:
    """Each algorithm's gradient at theta (T, P), mini-batches in `order` (taylor.md, eq. 1), with
    one alpha or one for each task, (T, 1)."""
    phi, phis, steps = theta.copy(), [], []
    for i in order:
        phis.append(phi)
        steps.append(g(phi, i))
        phi = phi - alpha * steps[-1]
    exact = steps[-1]
    for i, at in reversed(list(zip(order[:-1], phis[:-1], strict=True))):
        exact = exact - alpha * hv(at, i, exact)
    return {"MAML": exact, "FOMAML": steps[-1], "Reptile": np.sum(steps, axis=0)}


def expansion(
    at_theta: list[NDArray], products: dict[tuple[int, int], NDArray], order: list[int],
    alpha: float,
) -> dict[str, NDArray]:  # fmt: skip
    """The same to first order in alpha, from g_i and H_i g_j at theta (taylor.md, eq. 5)."""
    last, earlier = order[-1], order[:-1]
    foml = at_theta[last] - alpha * sum(products[last, j] for j in earlier)
    maml = foml - alpha * sum(products[j, last] for j in earlier)
    pairs = [(i, j) for n, i in enumerate(order) for j in order[:n]]
    rept = np.sum(at_theta, axis=0) - alpha * sum(products[pair] for pair in pairs)
    return {"MAML": maml, "FOMAML": foml, "Reptile": rept}


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Measure the coefficients for k = 2, 3, 4 and the order of what the expansion leaves out."""
    model = sine_mlp(8 if quick else 40, dtype="float64", backend=backend)
    tasks = 60 if quick else 1000
    theta = trained(model, 100 if quick else 2000)
    rows = []
    for k in (2,) if quick else (2, 3, 4):
        rows += regressed(model, theta, k, tasks)
    slopes, remainders = orders(model, theta, 3, min(tasks, 50))
    data = {
        "alpha": ALPHA, "tasks": tasks, "coefficients": rows, "slopes": slopes, "alphas": ALPHAS,
        "remainders": remainders,
    }  # fmt: skip
    worst = max(abs(row["found"] - row["expected"]) / abs(row["expected"]) for row in rows)

    def draw(left: Any, right_axes: Any) -> None:
        for n, name in enumerate(coefficients(2)):
            here = [row for row in rows if row["algorithm"] == name and row["of"] == "inner"]
            left.errorbar(
                [row["k"] + 0.08 * (n - 1) for row in here],
                [row["found"] for row in here],
                [[row["found"] - row["low"] for row in here],
                 [row["high"] - row["found"] for row in here]],
                fmt="o", capsize=3, label=name,
            )  # fmt: skip
            left.plot([r["k"] for r in here], [r["expected"] for r in here], "_k", ms=14)
            right_axes.loglog(ALPHAS, remainders[name], "o-", label=f"{name}: {slopes[name]:.2f}")
        left.set(
            xlabel="k", ylabel="coefficient of alpha AvgGradInner", xlim=(1.6, 4.4),
            xticks=(2, 3, 4),
        )  # fmt: skip
        left.legend()
        right_axes.set(xlabel="alpha", ylabel="what the expansion leaves out")
        right_axes.legend(title="slope")

    return Outcome(
        "The updates are AvgGrad and AvgGradInner with the paper's coefficients, to first order.",
        findings(data),
        f"The {len(rows)} coefficients regressed on {tasks:,} tasks are off by "
        f"{100 * worst:.2g} % at most; what the expansion leaves out falls with the power "
        f"{min(slopes.values()):.2f} to {max(slopes.values()):.2f} of alpha.",
        data, draw, panels=2,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """Every coefficient is the paper's but for OFF of it, and what is left out is of second order:
    of first order, it would fall with alpha itself."""
    return [
        weakest(off(row) for row in data["coefficients"]),
        weakest(power(name, data["alphas"], each) for name, each in data["remainders"].items()),
    ]


def off(row: dict[str, Any]) -> Finding:
    """By what part of the paper's coefficient the one that was found differs; the interval is the
    joint one of all coefficients."""
    found, *ends = (abs(row[key] / row["expected"] - 1) for key in ("found", "low", "high"))
    inside = row["low"] <= row["expected"] <= row["high"]
    of = {"grad": "AvgGrad", "inner": "AvgGradInner"}[row["of"]]
    what = f"the part by which {row['algorithm']}'s coefficient of {of} is off, for k = {row['k']},"
    return Finding(what, found, 0.0 if inside else min(ends), max(ends), OFF, above=False)


def power(name: str, alphas: Sequence[float], remainders: Sequence[float]) -> Finding:
    """Of alpha, with which a remainder falls, from one alpha to the next."""
    mean, half = student(np.diff(np.log(remainders)) / np.diff(np.log(alphas)))
    what = f"the power of alpha with which {name}'s remainder falls"
    return Finding(what, mean, mean - half, mean + half, 1.5)


def trained(model: Model, iterations: int) -> NDArray:
    """An initialisation on its way: at a random one, all gradients point alike."""
    loops = Loops(iterations, epsilon=0.1, epsilon_final=0.1, train_shots=50, state="fresh")
    *_, last = reptile(model, Sine(), SGD(0.02), loops)
    return last.theta


def at_tasks(model: Model, k: int, tasks: int) -> tuple[Gradient, Product]:
    """Gradients and Hessian-vector products on k mini-batches of each of so many tasks."""
    loops = Loops(
        1, meta_batch=tasks, inner_steps=k, inner_batch=10, train_shots=min(10 * k, 50), seed=5
    )
    x, y = loops.sample(Sine(), 0)
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (
        lambda phi, i: model.loss_and_grad(phi, x[i], y[i])[1],
        lambda phi, i, v: model.hvp(phi, x[i], y[i], v),
    )


def shifts(k: int) -> list[list[int]]:
    """The cyclic orders of k mini-batches (taylor.md, eq. 11)."""
    return [[(i + s) % k for i in range(k)] for s in range(k)]


def regressed(model: Model, theta: NDArray, k: int, tasks: int) -> list[dict[str, Any]]:
    """Each algorithm's two coefficients, with intervals by resampling the tasks."""
    g, hv = at_tasks(model, k, tasks)
    start = np.repeat(theta[None], tasks, axis=0)
    first = [g(start, i) for i in range(k)]
    inner = [hv(start, i, first[j]) for i in range(k) for j in range(k) if i != j]
    avg_grad, avg_inner = np.mean(first, axis=0), np.mean(inner, axis=0)  # (tasks, P) each
    found = [updates(g, hv, start, order, ALPHA) for order in shifts(k)]
    rng, rows = np.random.default_rng(0), []
    for name, expected in coefficients(k).items():
        update = np.mean([each[name] for each in found], axis=0)
        whole = fit(update.mean(0), avg_grad.mean(0), ALPHA * avg_inner.mean(0))
        again = np.array([
            fit(*(a[i].mean(0) for a in (update, avg_grad, ALPHA * avg_inner)))
            for i in rng.integers(0, tasks, (RESAMPLES // 10 if tasks < 100 else RESAMPLES, tasks))
        ])  # fmt: skip
        # 95 % for all 18 together, and what the expansion itself leaves out at this alpha.
        half = 3.0 * again.std(0) + 1e-3 * np.abs(expected)
        low, high = whole - half, whole + half
        for n, of in enumerate(("grad", "inner")):
            rows.append({
                "algorithm": name, "k": k, "of": of, "expected": expected[n],
                "found": whole[n], "low": low[n], "high": high[n],
            })  # fmt: skip
    return rows


def fit(update: NDArray, a: NDArray, b: NDArray) -> NDArray:
    """The coefficients (2,) of update = c_0 a + c_1 b, by least squares."""
    basis = np.stack([a, b], axis=1)
    return np.linalg.lstsq(basis, update, rcond=None)[0]


def orders(
    model: Model, theta: NDArray, k: int, tasks: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The power of alpha with which the remainder falls, and the remainders."""
    g, hv = at_tasks(model, k, tasks)
    start = np.repeat(theta[None], tasks, axis=0)
    first = [g(start, i) for i in range(k)]
    products = {(i, j): hv(start, i, first[j]) for i in range(k) for j in range(k) if i != j}
    remainders: dict[str, list[float]] = {name: [] for name in coefficients(k)}
    for alpha in ALPHAS:
        order = list(range(k))
        exact = updates(g, hv, start, order, alpha)
        near = expansion(first, products, order, alpha)
        for name, values in remainders.items():
            values.append(float(np.linalg.norm(exact[name] - near[name])))
    slopes = {
        name: float(np.polyfit(np.log(ALPHAS), np.log(values), 1)[0])
        for name, values in remainders.items()
    }
    return slopes, remainders
