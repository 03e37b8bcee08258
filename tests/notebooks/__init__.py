"""The notebooks of docs/notebooks."""
