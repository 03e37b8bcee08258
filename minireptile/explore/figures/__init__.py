"""What the figures of the page compute, a module for each subject."""
