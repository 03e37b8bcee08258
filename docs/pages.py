"""The pages as GitHub shows them, in words that MyST knows; and docstrings as plain text."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

FENCED = r"^(?P<fence>`{3,}).*?^(?P=fence)$"  # is left alone
INLINE = re.compile(FENCED + r"|\$`(?P<tex>.+?)`\$", re.DOTALL | re.MULTILINE)
LINKED_HEADING = re.compile(r"^(#+ )\[(.+?)\]\(.*\)$", re.MULTILINE)  # Sphinx has no anchor for it
LISTED = re.compile(r"^/(\S*\*\S*)$", re.MULTILINE)  # /kernels/*
NAMED = re.compile(r"^(?:.* <)?/([\w/]+)>?$", re.MULTILINE)  # /kernels/README
EMPTY = re.compile(r"^```\{toctree\}\n(:.*\n)*\n*```$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+)\.md\)")

# In a docstring: what is code, and a star or a bar that is no markup.
PLAIN = re.compile(r"(`+.+?`+|^ *(?:>>>|\.\.\.).*|^ *\*+\w+ :)|[*|]")
DERIVED = re.compile(r"kernels/(\w+)\.md")


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page on its way to MyST."""
    text = source[0]
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        text = notebook(text)
    if docname == app.config.root_doc:
        text = contents(text, app.env.found_docs, Path(app.srcdir))
    source[0] = github(text)


def github(text: str) -> str:
    """GitHub's formulas as MyST's, and headings that are links as plain ones."""
    text = INLINE.sub(lambda m: f"{{math}}`{m['tex']}`" if m["tex"] else m[0], text)
    return LINKED_HEADING.sub(r"\1\2", text)


def contents(text: str, pages: set[str], root: Path) -> str:
    """The front page, with each pattern of its lists as the pages that it stands for."""
    named = set(NAMED.findall(text))

    def listed(match: re.Match[str]) -> str:
        found = in_order([n for n in pages if fnmatch(n, match[1])], (root / match[1]).parent)
        return "\n".join(f"/{name}" for name in found if name not in named)

    return EMPTY.sub("", LISTED.sub(listed, text))


def in_order(pages: list[str], folder: Path) -> list[str]:
    """Pages of a folder: its README, then in the order in which that links to them."""
    readme = folder / "README.md"
    order = LINK.findall(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    place = {name: i for i, name in reversed([*enumerate(order)])} | {"README": -1}
    return sorted(pages, key=lambda name: (place.get(Path(name).name, len(order)), name))


def notebook(text: str) -> str:
    """A notebook as Markdown, with what its cells printed and drew."""
    parts = ["---\nmyst:\n  enable_extensions: [dollarmath]\n---"]
    for cell in json.loads(text)["cells"]:
        content = "".join(cell["source"])
        parts.append(content if cell["cell_type"] == "markdown" else fenced(content, "python"))
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f"![what the cell draws](data:image/png;base64,{image})")
            else:
                parts.append(fenced("".join(output.get("text") or data["text/plain"]), "text"))
    return "\n\n".join(parts)


def fenced(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"


def docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """A star is a star, and derivations are linked to."""
    if what == "module":
        lines.clear()  # its page says it
    for i, line in enumerate(lines):
        line = PLAIN.sub(lambda m: m[1] or f"\\{m[0]}", line)
        lines[i] = DERIVED.sub(r":doc:`\g<0> </kernels/\1>`", line)


def front(app: Sphinx, failed: Exception | None) -> None:
    """The address of the site's folder leads to the front page."""
    refresh = f'<meta http-equiv="refresh" content="0; url={app.config.root_doc}.html">'
    (Path(app.outdir) / "index.html").write_text(f"<!doctype html>{refresh}\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before numpydoc
    app.connect("build-finished", front)
