"""A page for each file of code that a page links to, and for each folder; API pages link to them.

Links stand in the pages as GitHub follows them: [conv2d_numpy.py](conv2d_numpy.py), [bench](bench).
"""

import ast
import inspect
from importlib import import_module
from pathlib import Path

from docutils import nodes
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes

ROOT = Path(__file__).parents[1]
CODE = {".py", ".cu", ".cuh", ".h", ".js", ".css", ".html"}
HIDDEN = {"__pycache__", "kernels/__init__.py"}
FORMAT = HtmlFormatter(linespans="L", wrapcode=True)
linked: set[Path] = set()  # files and folders, relative to the root


def link(app, doctree):
    """Turn links to code and folders into links to their pages."""
    docname = app.env.docname
    kinds = (addnodes.download_reference, addnodes.pending_xref)
    for node in list(doctree.findall(lambda n: isinstance(n, kinds))):
        if node.get("reftype") != "myst" or node.get("refdomain"):
            continue
        name, _, line = node["reftarget"].partition("#")
        path = (ROOT / docname).parent.joinpath(name).resolve()  # minireptile/kernels is a link
        if not path.is_relative_to(ROOT) or not (path.is_dir() or path.suffix in CODE):
            continue
        if path.exists():
            uri = app.builder.get_relative_uri(docname, target(app, path))
            uri += f"#{line}" if line else ""
            node.replace_self(
                nodes.reference("", "", *node.children, internal=True, refuri=uri)
            )


def target(app, path):
    """The name of the page that shows a file or a folder."""
    path = path.relative_to(ROOT)
    for page in (path.with_suffix(""), path / "README"):
        if page.as_posix() in app.env.found_docs and path.suffix not in CODE:
            return page.as_posix()
    linked.add(path)
    return f"source/{path.as_posix()}" + ("/index" if (ROOT / path).is_dir() else "")


def linkcode_resolve(domain, info):
    """Where the code of a public name is, from an API page, docs/api/NAME.html."""
    thing = import_module(info["module"])
    for part in info["fullname"].split("."):
        thing = getattr(thing, part, None)
    thing = inspect.unwrap(thing.fget if isinstance(thing, property) else thing)
    try:
        path = Path(inspect.getsourcefile(thing)).resolve().relative_to(ROOT)
        line = inspect.getsourcelines(thing)[1]
    except (TypeError, OSError, ValueError):
        return None
    linked.add(path)
    return f"../../source/{path.as_posix()}.html#L-{line}"


def collect(app):
    """The pages of what was linked, and of the files in a folder that was."""
    todo = sorted(linked)
    for path in todo:
        if (ROOT / path).is_dir() and path.parts[0] != "tests":  # too many: those that are linked
            new = [p.relative_to(ROOT) for p in sorted((ROOT / path).iterdir()) if p.suffix in CODE]
            linked.update(new)
            todo += [p for p in new if p not in todo]
    for path in todo:
        page = target(app, ROOT / path)
        body = folder(app, page, path) if (ROOT / path).is_dir() else code(path)
        context = {"title": path.as_posix(), "body": body, "way": way(app, page, path)}
        derivation = path.with_name(path.stem.rsplit("_", 1)[0]) if path.suffix == ".py" else path
        for name in (path.with_suffix("").as_posix(), derivation.as_posix()):
            if path.parts[0] == "kernels" and name in app.env.found_docs:
                context["derivation"] = app.builder.get_relative_uri(page, name)
        yield page, context, "source.html"


def way(app, page, path):
    """The folders above, each with the address of its page where it has one."""
    for above in list(path.parents)[-2::-1]:
        uri = ""
        if above in linked:
            uri = app.builder.get_relative_uri(page, target(app, ROOT / above))
        yield above.name, uri


def code(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    return Markup(highlight(text, get_lexer_for_filename(path.name), FORMAT))


def folder(app, page, path):
    """A table: what is in it, and the first line of what each module says of itself."""
    rows = []
    for item in sorted((ROOT / path).iterdir(), key=lambda p: (p.is_file(), p.name)):
        inside = item.relative_to(ROOT)
        if item.name.startswith(".") or item.name == "__pycache__" or item.is_symlink():
            continue
        name = escape(item.name + "/" * item.is_dir())
        shown = inside.with_suffix("").as_posix() in app.env.found_docs
        if inside in linked or shown or (inside / "README").as_posix() in app.env.found_docs:
            uri = app.builder.get_relative_uri(page, target(app, item))
            name = f'<a href="{escape(uri)}">{name}</a>'
        rows.append(f"<tr><td>{name}</td><td>{escape(said(item))}</td></tr>")
    return Markup(f"<table>{''.join(rows)}</table>")


def said(path):
    """The first line of a module's or a package's docstring."""
    module = path / "__init__.py" if path.is_dir() else path
    if module.suffix != ".py" or not module.is_file():
        return ""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def setup(app):
    app.config.linkcode_resolve = linkcode_resolve
    app.connect("doctree-read", link, priority=400)  # before what is linked is copied for download
    app.connect("html-collect-pages", collect)
