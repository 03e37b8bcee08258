"""2-D convolution, Numba CUDA. Derivation: conv2d.md.

v1  the definition: a thread for each output, and backward for each entry of dw and of dx
v2  matrix products in tiles, without ever storing im2col's matrix. For one tap (i, j) of the
    kernel, y += x_shifted w[i, j] is a product of matrices (B H_out W_out, C_in) (C_in, C_out). A
    block makes a tile of it, TILE x TILE outputs, and each of its threads one of them: the threads
    read a tile of either factor into shared memory, one number each, wait for each other, and then
    use every number TILE times.

t is the task, (b, r, q, c) example, row, column and channel of an input, (b, o, p, n) those of an
output, (i, j) the tap, with r = o stride + i - pad.
"""

from .jit_cuda import BLOCK, TILE, block_sum, blocks, cuda, launch, launch_each

# The rows of a tile that is read by columns are one number longer, so that the numbers of a column
# lie in different banks of the shared memory and can be read at the same time.
LONGER = TILE + 1


# ------------------------------------------------------------------ v1: a thread for each number


@cuda.jit
def _forward_v1(y, x, w, bias, biased, stride, pad):
    index = cuda.grid(1)
    if index >= y.size:
        return
    _, B, H_out, W_out, N = y.shape
    H, W, C = x.shape[2], x.shape[3], x.shape[4]
    n, index = index % N, index // N
    p, index = index % W_out, index // W_out
    o, index = index % H_out, index // H_out
    b, t = index % B, index // B
    total = bias[t, n] if biased else x.dtype.type(0)
    for i in range(w.shape[1]):
        for j in range(w.shape[2]):
            r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
            if 0 <= r < H and 0 <= q < W:
                for c in range(C):
                    total += x[t, b, r, q, c] * w[t, i, j, c, n]
    y[t, b, o, p, n] = total


def conv2d_forward_v1(y, cols, x, w, b, stride, pad):
    """Write y (conv2d.md, eq. 1). Parameters as in the NumPy reference; cols is not used."""
    biased = b is not None
    bias = b if biased else y[:, 0, 0, 0]
    launch_each(_forward_v1, y.size, y, x, w, bias, biased, stride, pad)


@cuda.jit
def _backward_w_v1(dw, dy, x, stride, pad):
    index = cuda.grid(1)
    if index >= dw.size:
        return
    _, kh, kw, C, N = dw.shape
    _, B, H_out, W_out, _ = dy.shape
    H, W = x.shape[2], x.shape[3]
    n, index = index % N, index // N
    c, index = index % C, index // C
    j, index = index % kw, index // kw
    i, t = index % kh, index // kh
    total = x.dtype.type(0)
    for b in range(B):
        for o in range(H_out):
            r = o * stride[0] + i - pad[0]
            for p in range(W_out):
                q = p * stride[1] + j - pad[1]
                if 0 <= r < H and 0 <= q < W:
                    total += x[t, b, r, q, c] * dy[t, b, o, p, n]
    dw[t, i, j, c, n] = total


@cuda.jit
def _backward_x_v1(dx, dy, w, stride, pad):
    index = cuda.grid(1)
    if index >= dx.size:
        return
    _, B, H, W, C = dx.shape
    H_out, W_out, N = dy.shape[2], dy.shape[3], dy.shape[4]
    c, index = index % C, index // C
    q, index = index % W, index // W
    r, index = index % H, index // H
    b, t = index % B, index // B
    total = dx.dtype.type(0)
    for i in range(w.shape[1]):
        for j in range(w.shape[2]):
            above, left = r + pad[0] - i, q + pad[1] - j
            o, p = above // stride[0], left // stride[1]
            whole = o * stride[0] == above and p * stride[1] == left
            if whole and 0 <= o < H_out and 0 <= p < W_out:
                for n in range(N):
                    total += dy[t, b, o, p, n] * w[t, i, j, c, n]
    dx[t, b, r, q, c] = total


@cuda.jit
def _backward_b(db, dy):
    """A block for each task and filter (conv2d.md, eq. 5)."""
    shared = cuda.shared.array(BLOCK, dy.dtype)
    n, t = cuda.blockIdx.x, cuda.blockIdx.y
    total = dy.dtype.type(0)
    for m in range(cuda.threadIdx.x, dy.shape[1], BLOCK):
        total += dy[t, m, n]
    total = block_sum(shared, total)
    if cuda.threadIdx.x == 0:
        db[t, n] = total


def _launch_backward_b(db, dy):
    T, N = db.shape
    launch(_backward_b, (N, T), (BLOCK,), db, dy.reshape(T, dy.size // (T * N), N))


def conv2d_backward_v1(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dx, dw and db (conv2d.md, eq. 3 to 5). Parameters as in the NumPy reference."""
    if db is not None:
        _launch_backward_b(db, dy)
    if dw is not None:
        launch_each(_backward_w_v1, dw.size, dw, dy, x, stride, pad)
    if dx is not None:
        launch_each(_backward_x_v1, dx.size, dx, dy, w, stride, pad)


# -------------------------------------------------------------------- v2: a block for each tile


@cuda.jit
def _forward_v2(y, x, w, bias, biased, stride, pad):
    x_tile = cuda.shared.array((TILE, TILE), x.dtype)
    w_tile = cuda.shared.array((TILE, TILE), x.dtype)
    _, B, H_out, W_out, N = y.shape
    H, W, C = x.shape[2], x.shape[3], x.shape[4]
    row, column, t = cuda.threadIdx.y, cuda.threadIdx.x, cuda.blockIdx.z
    m, n = cuda.blockIdx.x * TILE + row, cuda.blockIdx.y * TILE + column
    b, o, p = m // (H_out * W_out), m // W_out % H_out, m % W_out
    zero = x.dtype.type(0)
    total = zero
    for i in range(w.shape[1]):
        for j in range(w.shape[2]):
            r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
            inside = b < B and 0 <= r < H and 0 <= q < W
            for first in range(0, C, TILE):
                c = first + column
                x_tile[row, column] = x[t, b, r, q, c] if inside and c < C else zero
                c = first + row
                w_tile[row, column] = w[t, i, j, c, n] if c < C and n < N else zero
                cuda.syncthreads()  # the tiles are complete
                for s in range(TILE):
                    total += x_tile[row, s] * w_tile[s, column]
                cuda.syncthreads()  # everyone is done with them
    if b < B and n < N:
        y[t, b, o, p, n] = total + bias[t, n] if biased else total


def conv2d_forward_v2(y, cols, x, w, b, stride, pad):
    """Write y, tile by tile (conv2d.md, eq. 1). Parameters as in the NumPy reference."""
    T, B, H_out, W_out, N = y.shape
    biased = b is not None
    bias = b if biased else y[:, 0, 0, 0]
    grid = (blocks(B * H_out * W_out, TILE), blocks(N, TILE), T)
    launch(_forward_v2, grid, (TILE, TILE), y, x, w, bias, biased, stride, pad)


@cuda.jit
def _backward_w_v2(dw, dy, x, stride, pad):
    """A tile of dw[t, i, j] (C, N), the product of x_shifted' (C, M) and dy (M, N)."""
    x_tile = cuda.shared.array((TILE, TILE), x.dtype)
    dy_tile = cuda.shared.array((TILE, TILE), x.dtype)
    _, kh, kw, C, N = dw.shape
    _, B, H_out, W_out, _ = dy.shape
    H, W = x.shape[2], x.shape[3]
    row, column = cuda.threadIdx.y, cuda.threadIdx.x
    t, i, j = cuda.blockIdx.z // (kh * kw), cuda.blockIdx.z // kw % kh, cuda.blockIdx.z % kw
    c_read, c = cuda.blockIdx.x * TILE + column, cuda.blockIdx.x * TILE + row
    n = cuda.blockIdx.y * TILE + column
    M = B * H_out * W_out
    zero = x.dtype.type(0)
    total = zero
    for first in range(0, M, TILE):
        m = first + row
        b, o, p = m // (H_out * W_out), m // W_out % H_out, m % W_out
        r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
        inside = m < M and 0 <= r < H and 0 <= q < W
        x_tile[row, column] = x[t, b, r, q, c_read] if inside and c_read < C else zero
        dy_tile[row, column] = dy[t, b, o, p, n] if m < M and n < N else zero
        cuda.syncthreads()
        for s in range(TILE):
            total += x_tile[s, row] * dy_tile[s, column]
        cuda.syncthreads()
    if c < C and n < N:
        dw[t, i, j, c, n] = total


@cuda.jit
def _backward_x_v2(dx, dy, w, stride, pad):
    """A tile of dx (M, C): for each tap, the product of dy_shifted (M, N) and w[t, i, j]' (N, C).

    m = (b, r, q) here; dy_shifted is 0 where no output has this input at this tap.
    """
    dy_tile = cuda.shared.array((TILE, TILE), dy.dtype)
    w_tile = cuda.shared.array((TILE, LONGER), dy.dtype)
    _, B, H, W, C = dx.shape
    H_out, W_out, N = dy.shape[2], dy.shape[3], dy.shape[4]
    row, column, t = cuda.threadIdx.y, cuda.threadIdx.x, cuda.blockIdx.z
    m = cuda.blockIdx.x * TILE + row
    c_read, c = cuda.blockIdx.y * TILE + row, cuda.blockIdx.y * TILE + column
    b, r, q = m // (H * W), m // W % H, m % W
    zero = dy.dtype.type(0)
    total = zero
    for i in range(w.shape[1]):
        for j in range(w.shape[2]):
            above, left = r + pad[0] - i, q + pad[1] - j
            o, p = above // stride[0], left // stride[1]
            whole = o * stride[0] == above and p * stride[1] == left
            inside = b < B and whole and 0 <= o < H_out and 0 <= p < W_out
            for first in range(0, N, TILE):
                n = first + column
                dy_tile[row, column] = dy[t, b, o, p, n] if inside and n < N else zero
                w_tile[row, column] = w[t, i, j, c_read, n] if c_read < C and n < N else zero
                cuda.syncthreads()
                for s in range(TILE):
                    total += dy_tile[row, s] * w_tile[column, s]
                cuda.syncthreads()
    if b < B and c < C:
        dx[t, b, r, q, c] = total


def conv2d_backward_v2(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dx, dw and db, tile by tile (conv2d.md, eq. 3 to 5). Parameters as in the reference."""
    if db is not None:
        _launch_backward_b(db, dy)
    T, kh, kw, C, N = w.shape
    if dw is not None:
        grid = (blocks(C, TILE), blocks(N, TILE), T * kh * kw)
        launch(_backward_w_v2, grid, (TILE, TILE), dw, dy, x, stride, pad)
    if dx is not None:
        _, B, H, W, _ = dx.shape
        grid = (blocks(B * H * W, TILE), blocks(C, TILE), T)
        launch(_backward_x_v2, grid, (TILE, TILE), dx, dy, w, stride, pad)


conv2d_forward = conv2d_forward_v2
conv2d_backward = conv2d_backward_v2
