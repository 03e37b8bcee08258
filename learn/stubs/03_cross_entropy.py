"""03: softmax and the losses, where every gradient begins.         40 minutes, about 13 lines

Read kernels/squared_error.md, eq. 1 and 2, and kernels/softmax_cross_entropy.md, eq. 1 to 5 (here
without the task axis t).

    out, target  (B, N)   floats
    z            (B, N)   logits, one for each of N classes
    labels       (B,)     integers in [0, N)

A loss is the mean over the B examples, one number. dy, the gradient by the loss, is one number
too: 1 if the loss is the last thing that is computed, another one if it is weighted. B and N can
be anything, and so can logits: exp(1000) must not happen.
"""

import numpy as np


def squared_error(out, target):
    raise NotImplementedError("one number: the squares summed over N, their mean over B")


def squared_error_backward(dy, out, target):
    raise NotImplementedError("dout and dtarget, each (B, N)")


def softmax(z):
    raise NotImplementedError("p, (B, N), whose rows sum to 1: eq. 1, with the shift of eq. 2")


def softmax_backward(dy, z):
    raise NotImplementedError("dz of p = softmax(z); here dy is (B, N), as p is")


def log_softmax(z):
    raise NotImplementedError("log p, (B, N), without a logarithm of 0: eq. 1 and 2")


def log_softmax_backward(dy, z):
    raise NotImplementedError("dz of log_softmax(z); dy is (B, N)")


def onehot(labels, classes):
    raise NotImplementedError("(B, classes): 1.0 at the label, 0.0 elsewhere")


def cross_entropy(z, labels):
    raise NotImplementedError("one number: minus log p at the label, the mean over B")


def backward(dy, z, labels):
    raise NotImplementedError("dz of cross_entropy(z, labels), and None: labels have no gradient")
