"""The site: how Sphinx reads the pages of the project, and a check of what it writes."""
