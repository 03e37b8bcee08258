"""Where a sliding window meets its input: sizes, padding, and the taps of a kernel.

Shared by convolution and pooling; the derivation is in conv2d.md, section 1.
"""

from collections.abc import Iterator
from itertools import product

Pair = tuple[int, int]
Sizes = tuple[int, ...]  # rows and columns, as a slice of a shape
View = tuple[slice, ...]


def output_size(n: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Output length and padding before the first element, along one axis.

    "same" pads as TensorFlow does: the output has ceil(n / stride) elements, and an odd total
    padding puts the extra element behind, so that 28 at kernel 3, stride 2 is padded (0, 1).
    "valid" does not pad; its size is below 1 where the window does not fit.
    """
    if padding == "valid":
        return (n - kernel) // stride + 1, 0
    size = -(-n // stride)
    total = max((size - 1) * stride + kernel - n, 0)
    return size, total // 2


def _axis_taps(kernel: int, n_in: int, n_out: int, stride: int, pad: int) -> list[tuple]:
    """Each kernel index i with the outputs o and inputs r = o stride + i - pad inside the image."""
    taps = []
    for i in range(kernel):
        first = max(0, -(-(pad - i) // stride))
        last = min(n_out - 1, (n_in - 1 + pad - i) // stride)
        if first <= last:
            start, stop = first * stride + i - pad, last * stride + i - pad + 1
            taps.append((i, slice(first, last + 1), slice(start, stop, stride)))
    return taps


def taps(
    kernel: Sizes, in_size: Sizes, out_size: Sizes, stride: Pair, pad: Pair
) -> Iterator[tuple[int, int, View, View]]:
    """Every kernel index (i, j) with the part of the output it feeds and the input it reads.

    Both parts index ``(T, B, H, W, ...)`` arrays and select the same number of rows and columns;
    what falls on the padding is left out, so no padded copy is ever made.
    """
    rows, columns = (
        _axis_taps(kernel[a], in_size[a], out_size[a], stride[a], pad[a]) for a in (0, 1)
    )
    every = slice(None)
    for (i, out_r, in_r), (j, out_c, in_c) in product(rows, columns):
        yield i, j, (every, every, out_r, out_c), (every, every, in_r, in_c)
