"""Sums over the rows of a matrix, Numba: a bias's gradient (conv2d.md, eq. 8), and what batch
normalisation gathers of an image (batchnorm.md).

Rows are added eight at a time, and products of two four at a time, in pairs and pairs of pairs. So
a column's sum is fetched and stored once for all of them, and columns go into vectors side by side.
"""

from .jit_numba import inner

ROWS = 8


@inner
def sum_rows(total, values):
    """Write total (N,), the sum of values (M, N) over its rows."""
    M, N = values.shape
    whole = M - M % ROWS
    total[...] = 0
    for m in range(0, whole, ROWS):
        for n in range(N):
            a = (values[m, n] + values[m + 1, n]) + (values[m + 2, n] + values[m + 3, n])
            b = (values[m + 4, n] + values[m + 5, n]) + (values[m + 6, n] + values[m + 7, n])
            total[n] += a + b
    for m in range(whole, M):
        for n in range(N):
            total[n] += values[m, n]


@inner
def sum_products(total, x, mean_x, z, mean_z):
    """Write total (N,), the sum of (x - mean_x)(z - mean_z) over the rows of x, z (M, N)."""
    M, N = x.shape
    whole = M - M % 4
    total[...] = 0
    for m in range(0, whole, 4):
        for n in range(N):
            mu, nu = mean_x[n], mean_z[n]
            a = (x[m, n] - mu) * (z[m, n] - nu) + (x[m + 1, n] - mu) * (z[m + 1, n] - nu)
            b = (x[m + 2, n] - mu) * (z[m + 2, n] - nu) + (x[m + 3, n] - mu) * (z[m + 3, n] - nu)
            total[n] += a + b
    for m in range(whole, M):
        for n in range(N):
            total[n] += (x[m, n] - mean_x[n]) * (z[m, n] - mean_z[n])
