"""The course: the derivations, written by yourself. `python -m learn` checks what you wrote."""
