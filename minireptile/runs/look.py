"""A folder of one's own images, looked over before training."""

from dataclasses import dataclass

from ..tasks.files.folder import Found, survey
from . import needs
from .settings import Settings

SHOWN = 40  # classes in the table


@dataclass(frozen=True)
class Look:
    """What was found."""

    rows: list[list[str]]  # a table of the classes; the first is the head
    lines: list[str]  # what there is in all, what is needed, and what is possible
    wrong: str  # why training could not start; "" where it can


def look(s: Settings) -> Look:
    """Look over the images that the settings name; `InputError` where there are none to see."""
    found, notes, drawn = survey(s.data, test_fraction=s.test_fraction, seed=s.seed)
    parts: dict[str, dict[str, int]] = {}
    for one in found:
        parts.setdefault(one.part, {})[one.name] = one.images
    damaged = [sentence for one in found for sentence in one.damaged]
    return Look(_rows(found), [*_lines(s, found, parts, notes, drawn), *damaged],
                _wrong(s, parts, len(damaged), drawn))  # fmt: skip


def _rows(found: list[Found]) -> list[list[str]]:
    """The classes, the poorest ones where there are many."""
    poorest = sorted(found, key=lambda one: one.images)[:SHOWN]
    rows = [["class", "for", "images", "pixels", "colours", "damaged"]]
    for one in found:
        if one in poorest:
            colours, damaged = " and ".join(sorted(one.colours)), str(len(one.damaged))
            rows.append([one.name, one.part, str(one.images), _pixels(one), colours, damaged])
    return rows


def _pixels(one: Found) -> str:
    """The least and the largest size."""
    sizes = sorted(one.sizes, key=lambda size: size[0] * size[1])
    return " to ".join(dict.fromkeys(f"{w} x {h}" for w, h in (*sizes[:1], *sizes[-1:]))) or "-"


def _lines(
    s: Settings, found: list[Found], parts: dict[str, dict[str, int]], notes: list[str], drawn: bool
) -> list[str]:
    lines = list(notes)
    if len(found) > SHOWN:
        lines.append(f"the {SHOWN} classes with the fewest images, of {len(found)}")
    for part, counts in parts.items():
        fewest, most = min(counts.values()), max(counts.values())
        lines.append(f"{part}: {len(counts)} classes, of {fewest} to {most} images")
    if drawn:
        lines.append(f"drawn with --test-fraction {s.test_fraction} and --seed {s.seed}: folders "
                     "named train and test would say which classes are for what")  # fmt: skip
    if s.channels == 1 and any("colour" in one.colours for one in found):
        lines.append("there are images in colour, which become grey: --channels 3 keeps it")
    return [*lines, needs.needed(s), needs.possible(parts)]


def _wrong(s: Settings, parts: dict[str, dict[str, int]], damaged: int, drawn: bool) -> str:
    lacks = needs.lacking(s, parts)
    total = sum(map(len, parts.values()))
    if drawn and len(parts["test"]) < s.way <= total - s.way:
        lacks = f"{lacks}; or --test-fraction {-(-100 * s.way // total) / 100:g}"
    them = "file cannot be read: replace or remove it"
    if damaged > 1:
        them = "files cannot be read: replace or remove them"
    files = f"{damaged} {them}" if damaged else ""
    return "; ".join(filter(None, [files, lacks]))
