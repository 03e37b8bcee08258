"""How the compiled calls see a network: a program, one row of whole numbers for each instruction.

An instruction is a function (STAGE, its address) and what it computes. Offsets count elements: of
the task's parameters (W, BIAS) or of its workspace (X, Y, DX, DY, SAVED, WON, the inputs that a
max-pool let through, and WT, weights turned for dx), -1 where there is nothing; X = -1 is the data
itself.
"""

# A row's columns. SYNC: the threads of a task meet before it. ONCE: each thread is called once and
# takes its share, where it is otherwise called for every slice that it has. EPS: where a batch
# normalisation's stands among the constants. CUTS: from there on, for each slice, where a
# convolution's tables begin (tiles.py).
(
    STAGE, SYNC, ONCE, X, Y, DX, DY, W, BIAS, SAVED, WINNER, WON, WT,
    H, WIDTH, C, H_OUT, W_OUT, N, KH, KW, SR, SC, PR, PC, WITH_RELU, EPS_AT, CUTS,
) = range(28)  # fmt: skip

# What a thread's functions are told, one row of whole numbers for each thread. Addresses of the
# task's: parameters and tangents of them, workspaces, the gradients of the slices and of this one,
# the data, the loss of this step, the row of the output, moments, steps taken. Of the call:
# constants, tables, the optimizer's numbers, where tasks come from, and what was drawn of this one.
# Then which images these are, of how many, which slice, which step, which member of how many, how
# many parameters; and which task, in which of the call's outer iterations.
(
    PHI, V, WS, RWS, GRADS, GRAD, PITCH, WINNERS, SCRATCH, EXAMPLES, DATA, LABELS, TARGETS, LOSS,
    OUT, FIRST_MOMENT, SECOND_MOMENT, TAKEN, CONSTANTS, TABLES, NUMBERS, SOURCE, DRAWN,
    FIRST, LAST, B, SLICE, SLICES, STEP, MEMBER, MEMBERS, P, TASK, ITERATION,
) = range(34)  # fmt: skip
FIELDS = 40  # five cache lines, which no two threads share

# What a call is told. Addresses of its arguments, (k, T, ...) or (T, ...), with the bytes from a
# task and from a step to the next; whether phi is written back; memory, the bytes of a thread's,
# and what lies where in it. Then of outer iterations in one call (reptile_numba.py): how many, the
# number of the first; the stages that draw a task, hand out the optimizer's state and merge, or 0;
# the policy of the state; where tasks come from, epsilon (n,), and the state shared, (n + 1, P).
(
    TASKS, INNER_STEPS, IMAGES, CUT, SIZE, ITEM, THETAS, ADAPTED, VECTORS, XS, X_BYTES, X_STEP,
    YS, Y_BYTES, Y_STEP, LOSSES, OUTS, OUT_BYTES, MOMENTS_1, MOMENTS_2, COUNTS, COUNTED, WRITTEN,
    MEMORY, MEMORY_BYTES, OWN_V, OWN_WS, OWN_RWS, OWN_GRADS, OWN_PITCH, OWN_WINNERS, OWN_SCRATCH,
    OWN_EXAMPLES, OWN_DRAWN, OWN_DATA, CONSTANTS_AT, TABLES_AT, NUMBERS_AT,
    ITERATIONS, FIRST_ITERATION, DRAW, HAND_OUT, MERGE, POLICY, SOURCES, EPSILONS, SHARED_1,
    SHARED_2, TOLD,
) = range(49)  # fmt: skip
CARRY, MEAN, FRESH = range(3)

# Where tasks come from. Of images by class: the address of all bytes, how many an image has, what
# a byte is multiplied by (a double), classes, and where each begins. Of sine waves: x (a double).
(
    SEED, STREAM, SHOT, REPLACEMENT, BYTES, PIXELS, RATIO, WAY, CLASSES, STARTS, POINTS, GRID,
) = range(12)  # fmt: skip

# What is drawn of a task, in words of 8 bytes: the generator, k mini-batches as numbers of images,
# or of inputs, and k of labels or targets; the rest is needed in between.
DRAWN_X = 16

SCALE = 0  # among the constants: of the loss; the batch normalisations' eps follow

# The numbers of an optimizer, in one vector.
LR, MOMENTUM, BETA1, BETA2, EPS, DECAY = range(6)
