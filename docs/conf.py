"""The site: `make site` reads the project's pages as they stand, and writes build/site."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from minireptile import __version__  # noqa: E402

project, release = "minireptile", __version__
html_title = "minireptile"
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "learn/**.md",
    "kernels/*.md",
    "minireptile/layers/*.md",
    "minireptile/pretrained/*.md",
    "minireptile/testing/*.md",
    "bench/results/**.md",
    "tests/README.md",
    "tests/mistakes/README.md",
    "docs/**.md",
    "docs/notebooks/*.ipynb",
]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "numpydoc",
    "pages",
    "formulas",
    "sources",
]

myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_enable_extensions = ["substitution"]
# EXPLORE is a copy of Pyodide and its NumPy: make site puts the pages with them into the site.
myst_substitutions = {
    "explore": "<a href='../explore/index.html'>Open it here</a>: the engine runs in this page."
    if os.environ.get("EXPLORE")
    else "`minireptile explore` opens it in your browser; it is not a part of this copy of the site."
}

default_role = "code"  # in docstrings
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections have them
numpydoc_show_class_members = False

html_theme = "furo"
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_math_renderer = "katex"
html_static_path = ["style.css"]
html_css_files = ["katex/katex.css", "style.css"]
html_copy_source = html_show_sourcelink = False
html_use_index = True
html_show_sphinx = False
templates_path = ["templates"]
