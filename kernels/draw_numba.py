"""Random numbers as NumPy's `Generator` on `Philox` draws them, Numba, to the last bit.

So a compiled outer loop draws its own tasks, and they are those that Python draws (adapt.md, "The
outer loop in the call"). Philox4x64-10: Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011. A generator is 16 words: counter (4), key (2), the block (4), how much of it is used,
whether half a word is left over, and that half. NEP 19 lets NumPy change what it makes of the
words; the engine compares before it trusts (engine/compiled_outer.py).
"""

import numpy as np
from llvmlite import ir
from numba import types

from .jit_numba import inner, intrinsic

U = np.uint64
ZERO, ONE, LOW, HALF = U(0), U(1), U(0xFFFFFFFF), U(32)
MULTIPLIERS = U(0xD2E7470EE14C6C93), U(0xCA5A826395121157)
WEYL = U(0x9E3779B97F4A7C15), U(0xBB67AE8584CAA73B)  # what a round adds to the key
KEY, BLOCK, USED, LEFT, REST = 4, 6, 10, 11, 12
WORDS = 16
UNIT = 1.0 / 9007199254740992.0  # 2^-53


@intrinsic
def high(context, a, b):
    """The upper 64 of the 128 bits of a product."""

    def codegen(context, builder, signature, args):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(arg, wide) for arg in args))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


@inner
def seed_generator(g, seed, stream, iteration, task):
    """The generator of one (seed, stream, iteration, task), as rng.py makes it."""
    g[:] = ZERO
    g[1], g[2] = U(task), U(iteration)
    g[KEY], g[KEY + 1] = U(seed), U(stream)
    g[USED] = U(4)


@inner
def next_word(g):
    """64 random bits."""
    if g[USED] == U(4):
        for i in range(4):  # the counter, one number of 256 bits, goes up
            g[i] += ONE
            if g[i] != ZERO:
                break
        a, b, c, d = g[0], g[1], g[2], g[3]
        key0, key1 = g[KEY], g[KEY + 1]
        for _ in range(10):
            a, b, c, d = (
                high(MULTIPLIERS[1], c) ^ b ^ key0,
                MULTIPLIERS[1] * c,
                high(MULTIPLIERS[0], a) ^ d ^ key1,
                MULTIPLIERS[0] * a,
            )
            key0 += WEYL[0]
            key1 += WEYL[1]
        g[BLOCK], g[BLOCK + 1], g[BLOCK + 2], g[BLOCK + 3] = a, b, c, d
        g[USED] = ZERO
    word = g[BLOCK + np.int64(g[USED])]
    g[USED] += ONE
    return word


@inner
def next_half(g):
    """32 random bits: the lower half of a word, then its upper."""
    if g[LEFT] != ZERO:
        g[LEFT] = ZERO
        return g[REST]
    word = next_word(g)
    g[LEFT], g[REST] = ONE, word >> HALF
    return word & LOW


@inner
def uniform(g, low, high):
    """A double in [low, high)."""
    return low + (high - low) * (np.float64(next_word(g) >> U(11)) * UNIT)


@inner
def below(g, n):
    """A whole number in [0, n): Lemire, "Fast random integer generation in an interval", 2019."""
    if n == 1:
        return 0
    n = U(n)
    product = next_half(g) * n
    if product & LOW < n:
        threshold = (LOW - (n - ONE)) % n
        while product & LOW < threshold:
            product = next_half(g) * n
    return np.int64(product >> HALF)


@inner
def masked(g, most):
    """A whole number in [0, most], by trying until one is."""
    mask = U(most)
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> U(shift)
    while True:
        value = next_half(g) & mask
        if value <= U(most):
            return np.int64(value)


@inner
def permutation(g, order):
    """Fill `order` with 0 to n - 1 in random order: `Generator.permutation(n)`."""
    n = order.shape[0]
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        j = masked(g, i)
        order[i], order[j] = order[j], order[i]


@inner
def choice(g, n, chosen, taken):
    """Fill `chosen` with different numbers below n: `Generator.choice(n, size, replace=False)`.

    Floyd's algorithm, which NumPy takes for up to 10,000 things, with a set in `taken`, which has
    room for 2.4 size + 2 numbers.
    """
    size = chosen.shape[0]
    mask = U(1.2 * size)
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> U(shift)
    for i in range(np.int64(mask) + 1):
        taken[i] = -1
    for j in range(n - size, n):
        value = below(g, j + 1)
        at = U(value) & mask
        while taken[np.int64(at)] != -1 and taken[np.int64(at)] != value:
            at = (at + ONE) & mask
        if taken[np.int64(at)] == value:  # drawn before: j, which nobody can have drawn
            value = j
            at = U(value) & mask
            while taken[np.int64(at)] != -1:
                at = (at + ONE) & mask
        taken[np.int64(at)] = value
        chosen[j - n + size] = value
    for i in range(size - 1, 0, -1):
        j = below(g, i + 1)
        chosen[i], chosen[j] = chosen[j], chosen[i]


@inner
def minibatches(g, n, order, drawn, replacement):
    """Indices (k, B) of the mini-batches over n examples, as tasks/base.py deals them out.
    `order` (n,) is written too."""
    steps, batch = drawn.shape
    at = n
    for i in range(steps):
        if replacement:
            at = n
        for b in range(batch):
            if at == n:
                permutation(g, order)
                at = 0
            drawn[i, b] = order[at]
            at += 1
