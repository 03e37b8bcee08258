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

from collections.abc import Callable
from functools import partial

import torch

from minireptile.errors import InputError

from ..peers_case import TF32, Built, Case
from ..peers_torch import Tensors, eager, one_by_one, to_flat, vmap

Run = Callable[[], Tensors]
COMPILE = partial(torch.compile, mode="max-autotune-no-cudagraphs")


def build(case: Case, variant: str) -> Built:
    """One of the variants above; `InputError` for another."""
    name = variant.removesuffix(TF32)
    makers: dict[str, Callable[[Case], Run]] = {
        "eager": lambda case: eager(case, fused=True),
        "vmap": vmap,
        "CUDA graph": lambda case: graph(one_by_one(case)),
        "CUDA graph, vmap": lambda case: graph(vmap(case)),
        "max-autotune, CUDA graph": lambda case: graph(vmap(case, COMPILE)),
    }
    if name not in makers:
        raise InputError(f"there is no variant {variant!r}: choose one of {', '.join(makers)}")
    if case.carry and name not in ("eager", "CUDA graph"):
        raise InputError(f"{variant} adapts to all tasks at once, and carries no state")
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

    def replay(_kept: Run = run) -> Tensors:  # its tensors are to live as long as the graph
        captured.replay()
        return result

    return replay
