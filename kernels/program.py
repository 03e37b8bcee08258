"""The table that a compiled inner loop follows: one row for each stage of the network.

A row is made of whole numbers. Offsets count elements of the task's parameters (W, BIAS) or of the
task's workspace (X, Y, DX, DY, SAVED, and WT, weights turned for dx), -1 where there is nothing; X = -1 is the data itself.
"""

from __future__ import annotations

# Kinds. Batch normalisation is two stages, since its output needs the sums over all images: MOMENTS
# gathers them image by image, NORMALISE uses them. Backwards they change places.
CONV, DENSE, MOMENTS, NORMALISE, RELU, TANH, POOL = range(7)

# Columns. SYNC: the threads of a task meet before the stage, forward; SYNC_BACK: backward.
(
    KIND, SYNC, SYNC_BACK, X, Y, DX, DY, W, BIAS, SAVED, WINNER,
    H, WIDTH, C, H_OUT, W_OUT, N, KH, KW, SR, SC, PR, PC, WITH_RELU, WT,
) = range(25)  # fmt: skip
COLUMNS = 25

# What a call is for.
FORWARD, GRADIENT, SGD, ADAM = range(4)

# The numbers of an optimizer, in one vector.
LR, MOMENTUM, BETA1, BETA2, EPS, DECAY = range(6)
