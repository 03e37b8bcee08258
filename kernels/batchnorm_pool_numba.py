"""Batch normalisation with a max-pool of 2 x 2 behind it, and perhaps a ReLU, Numba. Derivation:
batchnorm.md, eq. 30 to 32.

The compiled inner loop's: what is normalised is never written, and the gradient by it neither.
Windows do not overlap; where the image ends inside one, a tap outside is taken to be the tap beside
it, which cannot win against itself.
"""

from .jit_numba import inner


@inner
def leader(best, at, tap, value, x, number):
    """The larger of best and value, and its x and tap: the first of equals; NaN wins."""
    wins = not (value <= best or best != best)
    return (value if wins else best), (x if wins else at), (number if wins else tap)


@inner
def normalise_pool(y, winner, won, x, mean, rstd, gamma, beta, relu):
    """Write y (n, H_out, W_out, C), the largest of each window of gamma (x - mean) rstd + beta, or
    its positive part (eq. 30); which tap that was; and its x (eq. 31)."""
    n, high, wide, C = y.shape
    zero = x.dtype.type(0)
    for b in range(n):
        for o in range(high):
            r, below = 2 * o, min(2 * o + 1, x.shape[1] - 1)
            for p in range(wide):
                q, right = 2 * p, min(2 * p + 1, x.shape[2] - 1)
                for c in range(C):
                    mu, slope, offset = mean[c], gamma[c] * rstd[c], beta[c]
                    x0, x1 = x[b, r, q, c], x[b, r, right, c]
                    x2, x3 = x[b, below, q, c], x[b, below, right, c]
                    best, at, tap = (x0 - mu) * slope + offset, x0, 0
                    best, at, tap = leader(best, at, tap, (x1 - mu) * slope + offset, x1, 1)
                    best, at, tap = leader(best, at, tap, (x2 - mu) * slope + offset, x2, 2)
                    best, at, tap = leader(best, at, tap, (x3 - mu) * slope + offset, x3, 3)
                    y[b, o, p, c] = zero if relu and best <= zero else best
                    won[b, o, p, c] = at
                    winner[b, o, p, c] = tap


@inner
def normalise_pool_backward(dx, dy, winner, x, mean, rstd, gamma, dbeta, dgamma, M):
    """Write dx (n, H, W, C), as `normalise_backward` does from dy where a pixel has won, and from
    0 elsewhere."""
    n, H, W, C = x.shape
    zero, share = x.dtype.type(0), x.dtype.type(1) / x.dtype.type(M)
    for b in range(n):
        for r in range(H):
            for q in range(W):
                o, p, tap = r // 2, q // 2, 2 * (r % 2) + q % 2
                for c in range(C):
                    d = dy[b, o, p, c] if winner[b, o, p, c] == tap else zero
                    xhat = (x[b, r, q, c] - mean[c]) * rstd[c]
                    d -= (dbeta[c] + xhat * dgamma[c]) * share
                    dx[b, r, q, c] = d * (gamma[c] * rstd[c])
