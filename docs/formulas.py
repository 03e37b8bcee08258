"""Formulas, set by KaTeX while the site is built: a page needs no script, and a wrong one fails."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util import logging

HERE = Path(__file__).parent
KATEX = Path(os.environ.get("KATEX") or HERE.parent / ".venv/katex/package") / "dist"
OTHER_FONTS = re.compile(r",url\([^)]*\.(?:woff|ttf)\) format\(\"\w+\"\)")  # woff2 is all we need
log = logging.getLogger(__name__)


class Setter:
    """One process of node for all formulas."""

    def __init__(self):
        self.process = None

    def ask(self, tex, display):
        """HTML, or the sentence that says what is wrong."""
        if self.process is None:
            command = ["node", str(HERE / "katex.js"), str(KATEX / "katex.min.js")]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen(command, **pipes, text=True, encoding="utf-8")
        self.process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self, *_):
        if self.process is not None:
            self.process.communicate()


setter = Setter()


def visit(tag):
    def write(self, node):
        tex = node.astext()
        answer = setter.ask(tex, tag == "div")
        if "error" in answer:
            log.warning("%s, in %s", answer["error"], " ".join(tex.split()), location=node)
        html = answer.get("html", self.encode(tex))
        self.body.append(f'<{tag} class="formula">{html}</{tag}>')
        raise nodes.SkipNode

    return write


def copy(app):
    """KaTeX's style and fonts, into the site's own files."""
    if not shutil.which("node") or not KATEX.is_dir():
        raise ExtensionError(
            "formulas need node and KaTeX: `make site` fetches KaTeX by npm; install Node.js"
        )
    static = Path(app.outdir) / "_static" / "katex"
    (static / "fonts").mkdir(parents=True, exist_ok=True)
    for font in (KATEX / "fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")
    css = (KATEX / "katex.min.css").read_text(encoding="utf-8")
    (static / "katex.css").write_text(OTHER_FONTS.sub("", css), encoding="utf-8")


def setup(app):
    app.add_html_math_renderer("katex", (visit("span"), None), (visit("div"), None))
    app.connect("builder-inited", copy)
    app.connect("build-finished", setter.stop)
