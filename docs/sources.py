"""A page for each file of code and each folder that a page or the API links to.

Links stand in the pages as GitHub follows them: [conv2d_numpy.py](conv2d_numpy.py), [bench](bench).
"""

import ast
import inspect
from collections.abc import Iterator
from html import escape
from importlib import import_module
from pathlib import Path
from string import Template
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
CODE = {".py", ".cu", ".cuh", ".h", ".js", ".css", ".html"}
SHELL = Template((Path(__file__).parent / "source.html").read_text(encoding="utf-8"))
FORMAT = HtmlFormatter(linespans="L", wrapcode=True)
linked: set[Path] = set()  # files and folders, relative to the root


def link(app: Sphinx, doctree: nodes.document) -> None:
    """Turn links to code and folders into links to their pages."""
    docname = app.env.docname
    for kind in (addnodes.download_reference, addnodes.pending_xref):
        for node in list(doctree.findall(kind)):
            if node.get("reftype") != "myst" or node.get("refdomain"):
                continue
            path = (ROOT / docname).parent.joinpath(node["reftarget"]).resolve()
            shown = path.is_dir() or (path.is_file() and path.suffix in CODE)
            if shown and path.is_relative_to(ROOT):
                uri = app.builder.get_relative_uri(docname, target(app, path.relative_to(ROOT)))
                node.replace_self(
                    nodes.reference("", "", *node.children, internal=True, refuri=uri)
                )


def target(app: Sphinx, path: Path) -> str:
    """The name of the page that shows a file or a folder."""
    if page := written(app, path):
        return page
    linked.add(path)
    return f"source/{path.as_posix()}" + ("/index" if (ROOT / path).is_dir() else "")


def written(app: Sphinx, path: Path) -> str | None:
    """The page of the documentation that a file or a folder is, if it is one."""
    name = (path / "README" if (ROOT / path).is_dir() else path.with_suffix("")).as_posix()
    return name if path.suffix not in CODE and name in app.env.found_docs else None


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where the code of a public name is, from an API page, docs/api/NAME.html."""
    thing: Any = import_module(info["module"])
    for part in info["fullname"].split("."):
        thing = getattr(thing, part, None)
    thing = thing.fget if isinstance(thing, property) else thing
    try:
        thing = inspect.unwrap(thing)
        path = Path(inspect.getsourcefile(thing) or "").resolve().relative_to(ROOT)
        line = inspect.getsourcelines(thing)[1]
    except (TypeError, OSError, ValueError):  # an attribute, or made by a decorator of others
        return None
    linked.add(path)
    return f"../../source/{path.as_posix()}.html#L-{line}"


def write(app: Sphinx, failed: Exception | None) -> None:
    """The pages of what was linked, and of the files in a folder that was. They have no sidebar:
    there are hundreds."""
    if failed:
        return
    todo = sorted(linked)
    for path in todo:
        if (ROOT / path).is_dir() and path.parts[0] != "tests":  # too many: those that are linked
            new = [p.relative_to(ROOT) for p in sorted((ROOT / path).iterdir()) if p.suffix in CODE]
            todo += [p for p in new if p not in linked]
            linked.update(new)
    for path in todo:
        page = target(app, path)
        values = {
            "title": escape(path.as_posix()),
            "static": app.builder.get_relative_uri(page, "_static/").removesuffix(".html"),
            "way": " / ".join(way(app, page, path)),
            "body": folder(app, page, path) if (ROOT / path).is_dir() else code(path),
        }
        file = Path(app.outdir, f"{page}.html")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SHELL.substitute(values), encoding="utf-8")


def way(app: Sphinx, page: str, path: Path) -> Iterator[str]:
    """The front page, the folders above, and the name, with its derivation if it has one."""
    yield anchor(app, page, app.config.root_doc, "minireptile")
    for above in list(path.parents)[-2::-1]:
        shown = above in linked or written(app, above)
        yield anchor(app, page, target(app, above), above.name) if shown else escape(above.name)
    stem = path.with_suffix("").as_posix()
    derived = [n for n in (stem, stem.rpartition("_")[0]) if n in app.env.found_docs]
    link = f" ({anchor(app, page, derived[0], 'derivation')})" if derived else ""
    yield escape(path.name) + link


def anchor(app: Sphinx, page: str, to: str, text: str) -> str:
    return f'<a href="{escape(app.builder.get_relative_uri(page, to))}">{escape(text)}</a>'


def code(path: Path) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return highlight(text, get_lexer_for_filename(path.name), FORMAT)


def folder(app: Sphinx, page: str, path: Path) -> str:
    """A table: what is in it, and the first sentence of what each module says of itself."""
    rows = []
    for item in sorted((ROOT / path).iterdir(), key=lambda p: (p.is_file(), p.name)):
        inside = item.relative_to(ROOT)
        if item.name.startswith((".", "__pycache__")) or item.is_symlink():
            continue
        name = item.name + "/" * item.is_dir()
        if inside in linked or written(app, inside):
            name = anchor(app, page, target(app, inside), name)
        rows.append(f"<tr><td>{name}</td><td>{escape(said(item))}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def said(path: Path) -> str:
    """The first paragraph of a module's or a package's docstring."""
    module = path / "__init__.py" if path.is_dir() else path
    if module.suffix != ".py" or not module.is_file():
        return ""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", link, priority=400)  # before what is linked is copied for download
    app.connect("build-finished", write)
