"""A run from the command line: its settings, folder, checkpoint, metrics and pictures."""
