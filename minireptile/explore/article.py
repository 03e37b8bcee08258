"""The files of the page, by the name that a browser asks for; the same for both transports."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).with_name("page")
PACKAGE = Path(__file__).parents[1]
KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
    "py": "text/plain; charset=utf-8",
    "md": "text/plain; charset=utf-8",
}
ALONE = "worker.js", "source.js"  # no modules of index.html
# What follows every figure: its errors, and the lines behind it.
BEHIND = """<p class="problem" role="alert"></p>
<details class="code"><summary>The call behind this figure</summary>
<button type="button">Copy</button><pre tabindex="0"><code></code></pre></details>"""


def article(engine: str, policy: str) -> dict[str, bytes]:
    """Every file of the page, for an engine that is "local" or in the page, "worker".

    The sections stand in index.html in reading order; the pages of code and of derivations that
    they link to, as source.html#FILE:TEXT, come along in source/.
    """
    found = {
        path.relative_to(PAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PAGE.rglob("*"))
        if path.suffix[1:] in KINDS
    }
    sections = {name: found.pop(name) for name in list(found) if name.startswith("sections/")}
    index = re.sub(r"<!-- include (\S+) -->", lambda m: sections[m[1]], found["index.html"])
    index = index.replace("<!-- behind -->", BEHIND)
    modules = [name for name in found if name.endswith(".js") and name not in ALONE]
    links = "".join(f'<link rel="modulepreload" href="{name}">\n' for name in sorted(modules))
    index = index.replace("<!-- modules -->\n", links)
    for name, text in (("index.html", index), ("source.html", found["source.html"])):
        head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
        text = text.replace("<!-- policy -->", head)
        found[name] = text.replace('data-engine=""', f'data-engine="{engine}"')
    for name, _ in linked(index):
        inside = name.removeprefix("minireptile/")
        found[f"source/{name}"] = (PACKAGE / inside).read_text(encoding="utf-8")
    return {name: text.encode() for name, text in found.items()}


def linked(index: str) -> list[tuple[str, str]]:
    """The files that a page links to, and the text in each that the link shows."""
    return re.findall(r'href="source\.html#([^":]+):([^"]+)"', index)


def kind(name: str) -> str:
    """A file's media type."""
    return KINDS[name.rsplit(".")[-1]]
