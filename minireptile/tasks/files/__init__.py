"""Data sets that come as files: read, checked, and grouped by class."""
