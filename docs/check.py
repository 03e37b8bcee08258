"""Is the built site whole?  python -m docs.check build/site

Every link inside leads to a file, and to a place in it that is there; nothing is fetched from
another host; the search finds what it should.
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"src", "srcset", "poster", "data"}  # by a browser, unasked; and href of a <link>
STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)")
TERMS = {"dgamma": "kernels/batchnorm", "im2col": "kernels/conv2d"}
APART = "explore"  # pages with tests of their own


class Page(HTMLParser):
    """The places that a page has, and the addresses that it names: (address, is it fetched)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = {"", "top"}
        self.addresses: list[tuple[str, bool]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (name == "name" and tag == "a"):
                self.places.add(value)
            elif name in FETCHED:
                self.addresses.append((value, True))
            elif name == "href":
                self.addresses.append((value, tag == "link"))


def check(site: Path) -> list[str]:
    """What is wrong with the links of a site, a sentence each."""
    paths = [p for p in sorted(site.rglob("*.html")) if p.relative_to(site).parts[0] != APART]
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in paths}
    wrong = []
    for path, page in pages.items():
        for address, fetched in page.addresses:
            if said := follow(path, address, fetched, pages):
                wrong.append(f"{path.relative_to(site.resolve())}: {address} {said}")
    for path in sorted(site.rglob("*.css")):
        for address in STYLE.findall(path.read_text(encoding="utf-8")):
            if said := follow(path.resolve(), address, True, pages):
                wrong.append(f"{path.relative_to(site)}: {address} {said}")
    return wrong


def follow(path: Path, address: str, fetched: bool, pages: dict[Path, Page]) -> str:
    """What is wrong with an address in a file; nothing, if it leads somewhere."""
    parts = urlsplit(address)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "is fetched from another host" if fetched else ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "leads to no file"
    if target in pages and unquote(parts.fragment) not in pages[target].places:
        return "leads to no place in its page"
    return ""


def search(site: Path) -> list[str]:
    """Which words the site's index of words does not lead to their page, a sentence each."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    wrong = []
    for term, page in TERMS.items():
        found = index["terms"].get(term, [])
        names = [index["docnames"][i] for i in ([found] if isinstance(found, int) else found)]
        if page not in names:
            wrong.append(f"search: {term} does not lead to {page}, but to {names}")
    return wrong


def main(site: Path) -> int:
    """Say what is wrong; 0 if nothing is."""
    wrong = check(site) + search(site)
    print(*wrong, sep="\n", end="\n" * bool(wrong))
    files = [p for p in site.rglob("*") if p.is_file()]
    pages = sum(p.suffix == ".html" for p in files)
    size = sum(p.stat().st_size for p in files) / 1e6
    print(f"{site}: {pages} pages, {size:.1f} MB, {len(wrong) or 'nothing'} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
