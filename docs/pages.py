"""The pages as GitHub shows them, in words that MyST knows."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

FENCED = r"^(?P<fence>`{3,}).*?^(?P=fence)$"  # is left alone
INLINE = re.compile(FENCED + r"|\$`(?P<tex>.+?)`\$", re.DOTALL | re.MULTILINE)
LINKED_HEADING = re.compile(r"^(#+ )\[(.+?)\]\(.*\)$", re.MULTILINE)  # Sphinx has no anchor for it
LISTED = re.compile(r"^/(\S*\*\S*)$", re.MULTILINE)
PLAIN = re.compile(r"(`+.+?`+|^ *(?:>>>|\.\.\.).*|^ *\*+\w+ :)|[*|]")
DERIVED = re.compile(r"kernels/(\w+)\.md")
LINK = re.compile(r"\]\(([\w./-]+)\.md\)")


def read(app, docname, source):
    """Change the text of a page on its way to MyST."""
    path = app.env.doc2path(docname)
    text = notebook(source[0]) if path.suffix == ".ipynb" else source[0]
    if docname == app.config.root_doc:
        named = set(re.findall(r"^.*?/?([\w/]+)>?$", text, re.MULTILINE))
        text = LISTED.sub(lambda m: "\n".join(f"/{n}" for n in listed(app, m[1]) if n not in named), text)
        text = re.sub(r"^```\{toctree\}\n(:.*\n)*\n+```$", "", text, flags=re.MULTILINE)
    text = INLINE.sub(lambda m: f"{{math}}`{m['tex']}`" if m["tex"] else m[0], text)
    source[0] = LINKED_HEADING.sub(r"\1\2", text)


def listed(app, pattern):
    """The pages that a pattern names, in the order in which their folder's README links to them."""
    found = sorted(name for name in app.env.found_docs if fnmatch(name, pattern))
    readme = Path(app.srcdir, pattern).parent / "README.md"
    order = LINK.findall(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    place = {name: i for i, name in reversed([*enumerate(order)])}
    found.sort(key=lambda name: place.get(Path(name).name, -1 if name.endswith("README") else 999))
    return found


def notebook(text):
    """A notebook as Markdown, with what its cells printed and drew."""
    parts = ["---\nmyst:\n  enable_extensions: [dollarmath]\n---"]
    for cell in json.loads(text)["cells"]:
        content = "".join(cell["source"])
        parts.append(content if cell["cell_type"] == "markdown" else fenced(content, "python"))
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f"![What the cell draws](data:image/png;base64,{image})")
            else:
                parts.append(fenced("".join(output.get("text") or data["text/plain"]), "text"))
    return "\n\n".join(parts)


def fenced(text, language):
    return f"````{language}\n{text.rstrip()}\n````"


def docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text: a star is a star, and derivations are linked to."""
    if what == "module":
        lines.clear()  # its page says it
    for i, line in enumerate(lines):
        line = PLAIN.sub(lambda m: m[1] or f"\\{m[0]}", line)
        lines[i] = DERIVED.sub(r":doc:`\g<0> </kernels/\1>`", line)


def setup(app):
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before numpydoc
    return {"parallel_read_safe": True, "parallel_write_safe": True}
