"""Formulas, set by KaTeX while the site is built: a page needs no script, and a wrong one fails."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

HERE = Path(__file__).parent
KATEX = Path(os.environ.get("KATEX") or HERE.parent / ".venv/katex/package") / "dist"
OTHER_FONTS = re.compile(r",url\([^)]*\.(?:woff|ttf)\) format\(\"\w+\"\)")  # woff2 is all we need
log = logging.getLogger(__name__)


class Setter:
    """One process of node for all formulas."""

    process: subprocess.Popen[str] | None = None

    def ask(self, tex: str, display: bool) -> dict[str, str]:
        """Its HTML under "html", or what is wrong with it under "error"."""
        if self.process is None:
            self.process = subprocess.Popen(
                ["node", str(HERE / "katex.js"), str(KATEX / "katex.min.js")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, str] = json.loads(self.process.stdout.readline())
        return answer

    def stop(self, *_: Any) -> None:
        if self.process is not None:
            self.process.communicate()


setter = Setter()


def visit(tag: str) -> Callable[[Any, nodes.Element], None]:
    """How a formula is written: a span in a line, or a div of its own."""

    def write(page: Any, node: nodes.Element) -> None:
        tex = node.astext()
        answer = setter.ask(tex, tag == "div")
        if "error" in answer:
            log.warning("%s, in %s", answer["error"], " ".join(tex.split()), location=node)
        html = answer.get("html", page.encode(tex))
        page.body.append(f'<{tag} class="formula">{html}</{tag}>')
        raise nodes.SkipNode

    return write


def copy(app: Sphinx) -> None:
    """KaTeX's style and fonts, into the site's own files."""
    if not shutil.which("node") or not KATEX.is_dir():
        raise SystemExit(  # one sentence, where Sphinx would add its traceback
            f"formulas need node, and KaTeX in {KATEX.parent}: install Node.js, and use make site"
        )
    static = Path(app.outdir) / "_static" / "katex"
    (static / "fonts").mkdir(parents=True, exist_ok=True)
    for font in (KATEX / "fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")
    css = (KATEX / "katex.min.css").read_text(encoding="utf-8")
    (static / "katex.css").write_text(OTHER_FONTS.sub("", css), encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("katex", (visit("span"), None), (visit("div"), None))
    app.connect("builder-inited", copy)
    app.connect("build-finished", setter.stop)
