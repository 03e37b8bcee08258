"""The site: `make site` reads the project's pages as they stand, and writes build/site."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.sources import linkcode_resolve as linkcode_resolve
from minireptile import __version__

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
    "bench/**.md",
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
    "docs.pages",
    "docs.formulas",
    "docs.sources",
]

myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_enable_extensions = ["substitution"]
myst_substitutions = {
    "explore": "<a href='../explore/index.html'>Open it here</a>: the engine runs in the page."
    if os.environ.get("EXPLORE")  # make site puts it there
    else "`minireptile explore` opens it in your browser."
}

default_role = "code"  # in docstrings
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # numpydoc's sections have them
numpydoc_show_class_members = False

html_theme = "furo"
pygments_dark_style = "github-dark"
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_math_renderer = "katex"
html_favicon = "../minireptile/explore/page/icon.svg"
html_static_path = ["style.css", "local.js"]
html_css_files = ["katex/katex.css", "style.css"]
html_js_files = ["local.js"]
html_copy_source = html_show_sourcelink = html_show_copyright = False
smartquotes = False
