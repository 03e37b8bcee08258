"""The meta-iteration in PyTorch on a GPU, in the ways that its users write it.

eager                     a module, backward(), the fused optimizer; one task after another
vmap                      torch.func: all tasks at once
CUDA graph                one task after another, all of it captured and replayed as one
CUDA graph, vmap          all tasks at once, all of it captured and replayed as one
max-autotune, CUDA graph  the same, each inner step first compiled by torch.compile

A name that ends in ", TF32" lets matrix products and convolutions round their operands to TF32;
the others compute in single precision throughout. Where there is no GPU, the same programs run on
the processor and nothing is captured: that is how the tests see their numbers.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from minireptile.errors import InputError

from ..peers_case import Built, Case
from ..peers_torch import Learner, Tensors, data, inner_step, outer, start_of, to_flat, to_tensors
from ..peers_torch import vmap as all_at_once
from .case import TF32, Carried

Run = Callable[[], Tensors]
COMPILE = partial(torch.compile, mode="max-autotune-no-cudagraphs")


def build(case: Case, variant: str, threads: int = 1) -> Built:
    """One of the variants above; `InputError` for another."""
    name = variant.removesuffix(TF32)
    makers: dict[str, Callable[[Case], Run]] = {
        "eager": eager,
        "vmap": all_at_once,
        "CUDA graph": lambda case: graph(one_by_one(case)),
        "CUDA graph, vmap": lambda case: graph(all_at_once(case)),
        "max-autotune, CUDA graph": lambda case: graph(all_at_once(case, COMPILE)),
    }
    if name not in makers:
        raise InputError(f"there is no variant {variant!r}: choose one of {', '.join(makers)}")
    if isinstance(case, Carried) and name not in ("eager", "CUDA graph"):
        raise InputError(f"{variant} adapts to all tasks at once, and carries no state")
    if len(case.x) != 1:
        raise InputError("PyTorch's variants compute one meta-iteration")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = variant.endswith(TF32)
    torch.set_float32_matmul_precision("high" if variant.endswith(TF32) else "highest")
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        call = makers[name](case)

    def run() -> Tensors:
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return Built(run, lambda tensors: to_flat(case.model, [tensor.cpu() for tensor in tensors]))


def graph(run: Run) -> Run:
    """What `run` launches, captured once and replayed at every call."""
    if not torch.cuda.is_available():
        return run
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose their algorithms, compilers compile
            run()
    torch.cuda.current_stream().wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        result = run()

    def replay() -> Tensors:
        captured.replay()
        return result

    return replay


def eager(case: Case) -> Run:
    """Module, backward(), fused optimizer; the optimizer's state is kept if the case carries it."""
    kind = Carrier if isinstance(case, Carried) else Learner
    learner = kind(case, *data(case), fused=True)
    theta = to_tensors(case.model, case.theta)
    return lambda: outer(theta, learner.sums(theta), len(learner.tasks), case.epsilon)


class Carrier(Learner):
    """A learner whose optimizer hands its state from task to task."""

    def sums(self, theta: Tensors) -> Tensors:
        totals = [torch.zeros_like(start) for start in theta]
        self.optimizer.state.clear()
        for task in self.tasks:
            with torch.no_grad():
                for p, start in zip(self.parameters, theta, strict=True):
                    p.copy_(start)
            for x, y in task:
                self.optimizer.zero_grad()
                self.loss(self.net(x), y).backward()
                self.optimizer.step()
            with torch.no_grad():
                for p, total in zip(self.parameters, totals, strict=True):
                    total.add_(p)
        return totals


def one_by_one(case: Case) -> Run:
    """Functions alone, one task after another, so that all of it can be captured."""
    step = inner_step(case, every_task=False)
    theta, start, zero = start_of(case)
    tasks = [list(zip(*task, strict=True)) for task in zip(*data(case), strict=True)]

    def run() -> Tensors:
        sums, carried = [torch.zeros_like(p) for p in theta], zero
        for task in tasks:
            phi, state = start, carried
            for x, y in task:
                phi, state = step(phi, state, x, y)
            carried = state if isinstance(case, Carried) else zero
            for total, p in zip(sums, phi.values(), strict=True):
                total.add_(p)
        return outer(theta, sums, len(tasks), case.epsilon)

    return run
