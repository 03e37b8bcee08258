"""Files from folders and zips, and images from files: nothing unsafe, one sentence each."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minireptile.errors import InputError
from minireptile.tasks.files.archive import MAX_BYTES, Member, open_files
from minireptile.tasks.files.decode import FORMATS, decode
from minireptile.tasks.files.folder import to_mode

from .loader_data import encode, noise, write_tree, write_zip

PIXELS = noise(0, 20, 20, 3)


def member(content: bytes) -> Member:
    return Member("x.png", "x.png", lambda: content)


def read_all(path: Path) -> dict[str, bytes]:
    with open_files(path) as files:
        return {m.name: m.read() for m in files.members}


def test_folder_and_zip_give_the_same_files_without_hidden_ones(tmp_path: Path) -> None:
    seen = {"a/1.png": b"one", "b/2.png": b"two", "b.txt": b"three"}
    hidden = {".git/x": b"", "a/.DS_Store": b"", "__MACOSX/a/1.png": b"", "a/._1.png": b""}
    tree = write_tree(tmp_path / "tree", seen | hidden)
    archive = write_zip(tmp_path / "a.zip", hidden | seen)
    assert read_all(tree) == read_all(archive) == seen
    with open_files(tree) as one, open_files(archive) as two:
        assert [m.name for m in one.members] == [m.name for m in two.members]
        assert sorted(one.folders) == sorted(two.folders) == ["a", "b"]


def test_links_in_circles_and_to_nothing_are_passed_over(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a/1.png": b"one"})
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nothing")
    assert read_all(tmp_path) == {"a/1.png": b"one"}


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "a\\..\\x.png", "\\x.png"]
)
def test_names_that_climb_out_refuse_the_archive(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/1.png": b"", name: b""})
    with pytest.raises(InputError, match="leads out of the archive"), open_files(path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("./a.png", b"2")
    with pytest.raises(InputError, match=r"a\.png' twice"), open_files(tmp_path / "a.zip"):
        pass


def test_missing_path_foreign_file_and_truncated_zip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"), open_files(tmp_path / "no"):
        pass
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(InputError, match="not a zip archive"), open_files(tmp_path / "text.zip"):
        pass
    whole = write_zip(tmp_path / "a.zip", {"1.png": bytes(noise(1, 5000))})
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(InputError, match="not a zip archive, or is cut short"), open_files(whole):
        pass


def test_too_large_files_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", {"zeros.png": bytes(MAX_BYTES + 1)})
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"zeros\.png.* 64 MiB"):
        read_all(path)
    with open(tmp_path / "sparse.png", "wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    path.unlink()
    with pytest.raises(InputError, match=r"sparse\.png is 64 MiB large"):
        read_all(tmp_path)


def patched(path: Path, at: int, form: str, value: int, files: dict[str, bytes]) -> Path:
    """A zip of one file with a field of both its headers changed (offset in the local one)."""
    content = bytearray(write_zip(path, files).read_bytes())
    struct.pack_into(form, content, at, value)
    central = content.index(b"PK\x01\x02")
    struct.pack_into(form, content, central + at + 2, value)  # has one more field in front
    path.write_bytes(content)
    return path


def test_a_declared_size_that_lies_does_not_unpack_more(tmp_path: Path) -> None:
    zeros = {"a.png": bytes(10**6)}
    small = patched(tmp_path / "s.zip", 22, "<I", 1000, zeros)
    with pytest.raises(InputError, match=r"a\.png.* is damaged"):
        read_all(small)
    large = patched(tmp_path / "l.zip", 22, "<I", 2 * 10**6, zeros)
    with pytest.raises(InputError, match=r"a\.png.* is (cut short|damaged)"):
        read_all(large)


def test_encrypted_exotic_and_damaged_members(tmp_path: Path) -> None:
    locked = patched(tmp_path / "e.zip", 6, "<H", 1, {"a.png": b"x"})
    with pytest.raises(InputError, match="is encrypted: make"):
        read_all(locked)
    exotic = write_zip(tmp_path / "b.zip", {"a.png": b"x"}, zipfile.ZIP_BZIP2)
    with pytest.raises(InputError, match="compressed by method 12"):
        read_all(exotic)
    damaged = patched(tmp_path / "c.zip", 14, "<I", 12345, {"a.png": b"x"})
    with pytest.raises(InputError, match=r"'a\.png' in .*c\.zip is damaged"):
        read_all(damaged)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_decodes_and_its_first_half_does_not(form: str) -> None:
    content = encode(PIXELS, form)
    picture = decode(member(content)).convert("RGB")
    assert picture.size == (20, 20)
    if form in ("PNG", "BMP"):
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)
    with pytest.raises(InputError, match=r"x\.png is damaged"):
        decode(member(content[: len(content) // 2]))


@pytest.mark.parametrize("form", ["TIFF", "EPS", "PCX"])
def test_other_formats_are_refused_whatever_their_name(form: str) -> None:
    with pytest.raises(InputError, match="no image that can be read"):
        decode(member(encode(PIXELS, form)))


@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow warns of the one, fails on the other
def test_a_picture_that_unpacks_to_too_many_pixels_is_refused(side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    with pytest.raises(InputError, match="too many pixels"):
        decode(member(content + chunk(b"IEND", b"")))


SEEDS = [encode(PIXELS, form) for form in FORMATS] + [encode(PIXELS[..., 0] > 99)]
ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w", zipfile.ZIP_DEFLATED) as _archive:
    _archive.writestr("a/é.png", SEEDS[0])
    _archive.writestr("b.txt", b"text" * 50)


@st.composite
def damage(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    content = bytearray(draw(st.sampled_from(contents)))
    places = st.integers(0, len(content) - 1)
    for at in draw(st.lists(places, min_size=1, max_size=5)):
        content[at] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.none() | places)])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(damage(SEEDS))
def test_damaged_images_decode_or_raise_input_error(content: bytes) -> None:
    try:
        result = to_mode(decode(member(content)), "RGB").mode
    except InputError as error:
        result = str(error)
    assert result == "RGB" or result.startswith("x.png ")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(damage([ZIPPED.getvalue()]))
def test_damaged_zips_read_or_raise_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(content)
    found, message = {}, f"{path}"
    try:
        found = read_all(path)
    except InputError as error:
        message = str(error)
    assert str(path) in message
    assert set(found.values()) <= {SEEDS[0], b"text" * 50}


def test_sixteen_bits_transparency_and_turned_photographs() -> None:
    deep = Image.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16))
    np.testing.assert_array_equal(np.asarray(to_mode(deep, "L")), [[0, 1, 128, 255]])
    clear = Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8))
    np.testing.assert_array_equal(np.asarray(to_mode(clear, "L")), [[255, 9]])
    lying = Image.fromarray(np.array([[10, 20]], np.uint8))
    lying.getexif()[274] = 6  # EXIF orientation: to be turned clockwise
    np.testing.assert_array_equal(np.asarray(to_mode(lying, "L")), [[10], [20]])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])  # read while decoding, and only for turning
def test_damaged_metadata_is_passed_over(form: str) -> None:
    stream = io.BytesIO()
    # A directory of five entries, of which not one is there; Pillow warns of it.
    broken = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    Image.fromarray(PIXELS).save(stream, form, exif=broken)
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(stream.getvalue())).getexif().get(274)
    assert to_mode(decode(member(stream.getvalue())), "L").size == (20, 20)
