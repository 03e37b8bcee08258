"""What N-way, K-shot training needs of the classes, and what it lacks where it cannot start."""

from collections.abc import Mapping

from .settings import Settings

Counts = Mapping[str, int]  # the images of each class
PARTS = {"train": "to train on", "val": "for validation", "test": "for test"}


def least(s: Settings) -> dict[str, int]:
    """The images that a class of each part must have: K to adapt to, and one to ask about."""
    return {"train": s.train_shots, "val": s.shot + 1, "test": s.shot + 1}


def needed(s: Settings) -> str:
    """What the settings ask for, in words."""
    images = least(s)
    return (
        f"{s.way}-way {s.shot}-shot needs {s.way} classes of {images['train']} images to train on "
        f"(--train-shots) and {s.way} others of {images['test']} for test"
    )


def lacking(s: Settings, parts: Mapping[str, Counts]) -> str:
    """What the classes of each part lack, and what to do; "" where training can start."""
    lacks, advice = [], []
    classes = {part: len(parts[part]) for part in PARTS if part in parts}
    few = [f"{n} {PARTS[part]}" for part, n in classes.items() if n < s.way]
    if few:
        lacks.append(f"there are {' and '.join(few)}")
        fit = min(classes.values())
        advice.append(f"lower --way to {fit}, or add classes" if fit > 1 else "add classes")
    for part in classes:
        poorest = min(parts[part], key=parts[part].__getitem__)
        images = parts[part][poorest]
        if images >= least(s)[part]:
            continue
        lacks.append(f"class {poorest!r} has {images} image{'s' * (images != 1)} {PARTS[part]}")
        option, fit = ("--train-shots", images) if part == "train" else ("--shot", images - 1)
        lower = f"lower {option} to {fit}, or " if fit > 0 else ""
        advice.append(f"{lower}add images to it or remove it")
    if not lacks:
        return ""
    return f"{needed(s)}, and {', and '.join(lacks)}: {'; '.join(dict.fromkeys(advice))}"


def possible(parts: Mapping[str, Counts]) -> str:
    """The largest N and K that these classes are enough for."""
    images = {part: min(counts.values()) for part, counts in parts.items()}
    shot = max(0, min(n for part, n in images.items() if part != "train") - 1)
    return (
        f"possible here: --way up to {min(map(len, parts.values()))}, --shot up to {shot}, "
        f"--train-shots up to {images['train']}"
    )
