"""The files of a folder or a zip, by relative name. Nothing is ever unpacked to disk.

A zip from outside is refused if a name in it climbs out of the archive, if a name occurs twice,
or if a file asked for is larger than any image should be.
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...errors import InputError

MAX_BYTES = 64 * 2**20  # of one file, once decompressed

# What zipfile and zlib raise on damaged, encrypted or foreign archives.
BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One file."""

    name: str  # relative to the folder or zip, with forward slashes
    where: str  # the full name for messages
    read: Callable[[], bytes]  # returns the content, or raises `InputError`

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and file name."""
        return tuple(self.name.split("/"))


@dataclass(frozen=True)
class Files:
    """All files, sorted by name, and the names of all folders. Hidden ones are left out."""

    path: Path
    members: tuple[Member, ...]
    folders: tuple[str, ...]


@contextmanager
def open_files(path: Path) -> Iterator[Files]:
    """Open a folder or a zip for reading. `InputError` if the path is missing or unreadable, or the
    zip is damaged or unsafe."""
    if path.is_dir():
        yield _folder(path)
    elif path.is_file():
        with ExitStack() as stack:
            yield _zip(path, stack)
    else:
        raise InputError(f"{path} does not exist: check the path of the data")


@contextmanager
def open_with_zips(path: Path) -> Iterator[Files]:
    """Open a folder together with what the zips lying directly in it hold."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give the folder that holds the data")
    with ExitStack() as stack:
        tree = stack.enter_context(open_files(path))
        zips = [m.name for m in tree.members if m.name.lower().endswith(".zip")]
        opened = [stack.enter_context(open_files(path / z)) for z in zips if "/" not in z]
        members = [m for files in (tree, *opened) for m in files.members]
        folders = [f for files in (tree, *opened) for f in files.folders]
        yield Files(path, tuple(members), tuple(folders))


def read_text(member: Member) -> str:
    """The content of a text file in UTF-8, or `InputError`."""
    try:
        return member.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{member.where} is not UTF-8 text: save it as UTF-8") from error


def file_member(path: Path) -> Member:
    """A single file on disk as a `Member`."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error
    read = partial(_read_file, path, status.st_size)
    return Member(path.name, str(path), read)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _too_large(where: str, size: int) -> InputError:
    return InputError(
        f"{where} is {size / 2**20:.0f} MiB large, and at most {MAX_BYTES // 2**20} MiB are "
        "read from one file: remove it"
    )


def _folder(path: Path) -> Files:
    members: list[Member] = []
    folders: list[str] = []
    seen = set()  # links may lead in circles

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}): check its rights")

    for here, subfolders, names in os.walk(path, followlinks=True, onerror=refuse):
        if (real := os.path.realpath(here)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(s for s in subfolders if not _hidden(s))
        relative = Path(here).relative_to(path)
        folders += [(relative / s).as_posix() for s in subfolders]
        for name in names:
            try:
                status = os.stat(os.path.join(here, name))
            except FileNotFoundError:  # a link to nothing
                continue
            except OSError as error:
                refuse(error)
            if stat.S_ISREG(status.st_mode) and not _hidden(name):
                file = Path(here, name)
                read = partial(_read_file, file, status.st_size)
                members.append(Member((relative / name).as_posix(), str(file), read))
    return Files(path, tuple(sorted(members, key=_by_name)), tuple(folders))


def _zip(path: Path, stack: ExitStack) -> Files:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        entries = archive.infolist()
    except BROKEN_ZIP as error:
        raise InputError(
            f"{path} is not a zip archive, or is cut short or damaged: download it again"
        ) from error
    members: dict[str, Member] = {}
    folders: set[str] = set()
    for info in entries:
        name = _safe_name(path, info.filename)
        if any(map(_hidden, name.split("/"))):
            continue
        if info.is_dir():
            folders.add(name)
            continue
        if name in members:
            raise InputError(f"{path} holds {name!r} twice: make the archive again")
        read = partial(_read_zipped, archive, info, path)
        members[name] = Member(name, f"{name!r} in {path}", read)
        while (name := name.rpartition("/")[0]) and name not in folders:
            folders.add(name)
    return Files(path, tuple(sorted(members.values(), key=_by_name)), tuple(sorted(folders)))


def _by_name(member: Member) -> tuple[str, ...]:
    return member.parts


def _safe_name(path: Path, name: str) -> str:
    """The name with forward slashes; refuses absolute names and names that climb."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", name):
        raise InputError(
            f"{path} holds {name!r}, a name that leads out of the archive: "
            "do not trust this file, get the data from its official place"
        )
    return "/".join(part for part in parts if part not in ("", "."))


def _read_file(file: Path, size: int) -> bytes:
    if size > MAX_BYTES:
        raise _too_large(str(file), size)
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check its rights") from error


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    where = f"{info.filename!r} in {path}"
    if info.file_size > MAX_BYTES:
        raise _too_large(where, info.file_size)
    try:
        with open_entry(archive, info, where) as stream:
            # Asking for a number of bytes bounds the work even where the declared size is a lie.
            content: bytes = stream.read(info.file_size + 1)
    except InputError:
        raise
    except BROKEN_ZIP as error:
        raise InputError(f"{where} is damaged ({error}): download the zip again") from error
    if len(content) != info.file_size:
        raise InputError(f"{where} is cut short: download the zip again")
    return content


def open_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> zipfile.ZipExtFile:
    """Open one file of a zip as a stream whose reads decompress no more than is asked for."""
    # zipfile decompresses bzip2 and LZMA without a bound, so only the ordinary methods are read.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{where} is compressed by method {info.compress_type}: "
            "make the zip again with the ordinary method (deflate)"
        )
    if info.flag_bits & 1:
        raise InputError(f"{where} is encrypted: make the zip again without a password")
    return archive.open(info)  # type: ignore[return-value]
