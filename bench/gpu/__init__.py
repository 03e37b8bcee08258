"""What only a GPU needs of the bench: its parts, its clock, its kernels and its training."""
