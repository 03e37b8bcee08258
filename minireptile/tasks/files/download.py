"""Fetch Omniglot from its official place, on request and verified."""

import os
from pathlib import Path

from ...errors import InputError, require

OFFICIAL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
CHECKSUMS = {
    "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}


def cache_folder() -> Path:
    """The user's folder for things that can be fetched again."""
    return Path(require("pooch", "cli").os_cache("minireptile"))


def download_omniglot(
    target: str | os.PathLike[str] | None = None, *, base_url: str = OFFICIAL, progress: bool = True
) -> Path:
    """Download Omniglot's two zips (15 MB), unless they are there already.

    Parameters
    ----------
    target : path, optional
        Where to; by default ``omniglot`` in the user's cache folder.
    base_url : str
        The address of the folder that holds the two zips.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The folder, for `load_omniglot`.

    Raises
    ------
    InputError
        If the network or the folder fails, or a checksum is wrong. A file is written whole or
        not at all. A file of another content that lies in `target` is not replaced.
    """
    from ...runs import console

    pooch = require("pooch", "cli")
    folder = cache_folder() / "omniglot" if target is None else Path(target)
    for name, checksum in CHECKSUMS.items():
        url = f"{base_url}/{name}"
        by_hand = f"download {' and '.join(CHECKSUMS)} by hand from {base_url}/ and pass --data DIR"
        try:
            if target is not None and (folder / name).exists():
                if pooch.file_hash(str(folder / name), alg="md5") != checksum[4:]:
                    raise InputError(
                        f"{folder / name} is there, but is not the official file: move it away, "
                        "or pass its folder as --data DIR if you trust it"
                    )
                continue
            with console.progress(0, name, "bytes", quiet=not progress) as bar:
                fetch = pooch.HTTPDownloader(progressbar=bar)
                pooch.retrieve(url, checksum, fname=name, path=folder, downloader=fetch)
        except InputError:
            raise
        except (OSError, ValueError) as error:  # of requests, of the disk; checksum
            raise InputError(f"{url} could not be fetched ({_reason(error)}): {by_hand}") from error
    return folder


def _reason(error: Exception) -> str:
    requests = require("requests.exceptions", "cli")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        error.response.close()  # pooch leaves it open
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server took too long"
    if isinstance(error, requests.ChunkedEncodingError):
        return "the transfer was cut short"
    if isinstance(error, requests.RequestException):
        return "no connection"
    if isinstance(error, OSError):
        return f"the folder cannot be written: {error.strerror or error}"
    return "wrong checksum: the file was altered or cut short"
