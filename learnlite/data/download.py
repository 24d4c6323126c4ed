"""From an address to a folder of files: fetched, checked, extracted, each once and whole."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from learnlite.data.archive import (
    MAX_BYTES,
    MAX_FILES,
    MAX_RATIO,
    ArchiveError,
    extract,
    read_note,
)
from learnlite.data.locks import locked
from learnlite.data.urls import CHECKS, Check, home_folder
from learnlite.data.web import DownloadError, Part, check_url, fetch, shown_url
from learnlite.data.wording import quoted

__all__ = ["DownloadError", "download_data", "download_url", "untar_data"]

_SUFFIX = re.compile(r"\.(tar|tgz|tbz2?|txz|zip|(tar\.(gz|bz2|xz)))$", re.IGNORECASE)
_UNFIT = re.compile(r"[^\w.\-+ ()\[\]=@]")  # for the name of a file, on some system
_TIMEOUT = 30.0  # seconds without a byte
_NONE = Check()


def download_url(
    url: str,
    dest: str | Path,
    *,
    check: Check | None = None,
    force: bool = False,
    timeout: float = _TIMEOUT,
    retries: int = 5,
    wait: float = 1.0,
    bar: bool = True,
) -> Path:
    """Fetch `url` into the file `dest`, or into the folder `dest` if there is one; gives the file.

    A file that is there, and that `check` finds nothing wrong with, is taken as it is, unless
    `force` is given. What arrives is kept in `<name>.part`, from where a later call goes on;
    it gets its name once all of it is there and checked. `timeout` is the longest wait for the
    next byte. Timeouts, broken connections and faults of the server are tried `retries` times
    again, after `wait` seconds, twice as many, and so on.

    >>> download_url("file:///etc/passwd", "copy")
    Traceback (most recent call last):
    ...
    ValueError: an address must begin with http:// or https:// and name a host, got ...
    """
    check_url(url)
    if timeout <= 0 or retries < 0 or wait < 0:
        raise ValueError(
            "`timeout` must be above 0, `retries` and `wait` at least 0, "
            f"got {timeout}, {retries} and {wait}"
        )
    check = check or CHECKS.get(url, _NONE)
    dest = Path(dest)
    dest = dest / file_name(url) if dest.is_dir() else dest
    if not force and dest.is_file() and not check.fault(dest):
        return dest
    dest.parent.mkdir(parents=True, exist_ok=True)
    with locked(dest, lambda: print(f"another process is fetching {dest.name}; waiting for it")):
        if not force and dest.is_file():
            fault = check.fault(dest)
            if not fault:
                return dest
            print(f"fetching `{dest}` again, for {fault}")
        part = Part(dest.with_name(f"{dest.name}.part"), url)
        try:
            _complete(part, check, dest, timeout, retries, wait, bar)
        except DownloadError as error:
            raise DownloadError(
                f"`{shown_url(url)}` could not be downloaded: {error}. Call again later, or get "
                f"the file by other means, put it into the folder `{dest.parent}` by the name "
                f"`{dest.name}`, and call again"
            ) from error
        os.replace(part.path, dest)
        part.forget_note()
    return dest


def download_data(
    url: str,
    fname: str | Path | None = None,
    c_key: str = "archive",
    force_download: bool = False,
    timeout: float = _TIMEOUT,
    *,
    check: Check | None = None,
    base: str | Path | None = None,
    bar: bool = True,
) -> Path:
    """Fetch `url` to where archives are kept, or to `fname`; what is there is not fetched again.

    A file of the same name that came from another address is not taken for this one.
    """
    check_url(url)
    dest = home_folder(c_key, base) / file_name(url) if fname is None else Path(fname).expanduser()
    dest = dest / file_name(url) if dest.is_dir() else dest
    came_from = dest.with_name(f".{dest.name}.json")
    if dest.is_file() and not force_download:
        other = _source_of(came_from)
        if other not in ("", url):
            raise ValueError(
                f"`{dest}` came from `{shown_url(other)}`, not from `{shown_url(url)}`; give "
                "another place, or `force_download=True` to replace it"
            )
    before = _stamp(dest)
    dest = download_url(url, dest, check=check, force=force_download, timeout=timeout, bar=bar)
    if _stamp(dest) != before:
        came_from.write_text(json.dumps({"url": url}), encoding="utf-8")
    return dest


def untar_data(
    url: str | Path,
    archive: str | Path | None = None,
    data: str | Path | None = None,
    c_key: str = "data",
    force_download: bool = False,
    base: str | Path | None = None,
    *,
    check: Check | None = None,
    timeout: float = _TIMEOUT,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    max_ratio: float = MAX_RATIO,
    bar: bool = True,
) -> Path:
    """Fetch and extract a data set; gives its folder, and does nothing else if that is there.

    `url` is an address, as those of `URLs`, or an archive on this machine. Archives go to
    `archive` (else `archive/` in `base`), their contents to a folder by their name in `data` (else
    `data/` in `base`); `base` is the folder that `LEARNLITE_HOME` names, or `~/.learnlite`.
    `force_download` fetches and extracts anew, and replaces the folder.

    >>> import shutil
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as here:
    ...     Path(here, "pets", "cat").mkdir(parents=True)
    ...     mine = shutil.make_archive(f"{here}/my_pets", "gztar", here, "pets")
    ...     path = untar_data(Path(mine), base=f"{here}/home")
    ...     path.relative_to(here).as_posix(), [entry.name for entry in path.glob("c*")]
    ('home/data/my_pets', ['cat'])
    """
    local = _local(url)
    address = str(url)
    name = file_name(address) if local is None else local.name
    parent = home_folder(c_key, base) if data is None else Path(data).expanduser()
    folder = parent / (_SUFFIX.sub("", name) or name)
    if folder.is_dir() and not force_download:
        _check_source(folder, address, local)
        return folder
    file = local
    if file is None:
        archives = home_folder("archive", base) if archive is None else Path(archive).expanduser()
        file = download_data(
            address,
            archives / name,
            force_download=force_download,
            timeout=timeout,
            check=check,
            bar=bar,
        )
    elif not file.is_file():
        raise FileNotFoundError(
            f"there is no archive `{file}`, nor a folder `{folder}` extracted from it"
        )
    elif check is not None and (fault := check.fault(file)):
        raise ValueError(f"`{file}` is not what was expected: {fault}")
    note = {"url": "" if local else address, "size": file.stat().st_size}
    try:
        return extract(
            file,
            folder,
            max_bytes=max_bytes,
            max_files=max_files,
            max_ratio=max_ratio,
            overwrite=force_download,
            unwrap=True,
            note=note,
            bar=bar,
        )
    except ArchiveError as error:
        if local is None:
            error.add_note(f"the archive is {quoted(file)}; `force_download=True` fetches it anew")
        raise
    except FileExistsError:
        if folder.is_dir() and not force_download:  # another process was quicker
            return folder
        raise


def file_name(url: str) -> str:
    """The name of a file by its address, fit for every file system.

    >>> file_name("https://example.org/sets/my%20pets.tgz?download=1")
    'my pets.tgz'
    """
    last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    name = _UNFIT.sub("_", last).strip(". ")[-200:]
    if not name:
        raise ValueError(f"`{shown_url(url)}` names no file; give the name with `fname`")
    return name


def _local(url: str | Path) -> Path | None:
    """The archive, if it is on this machine."""
    if isinstance(url, str) and "://" in url:
        check_url(url)
        return None
    return Path(url).expanduser()


def _check_source(folder: Path, url: str, local: Path | None) -> None:
    """Refuse a folder that came from something else by the same name."""
    note = read_note(folder)
    if not note:
        return
    if local is None:
        other = note.get("url")
        same = not other or other == url
        came = f"`{shown_url(str(other))}`"
    else:
        same = not local.is_file() or note.get("size") == local.stat().st_size
        came = f"an archive of {note.get('size')} bytes"
    if not same:
        raise ValueError(
            f"`{folder}` was extracted from {came}, not from `{shown_url(url)}`; give another "
            "folder with `data`, or `force_download=True` to replace it"
        )


def _complete(
    part: Part, check: Check, dest: Path, timeout: float, retries: int, wait: float, bar: bool
) -> None:
    """Fetch until nothing is wrong: once more from the start if parts of two files met."""
    page = dest.suffix.lower() in (".html", ".htm")
    while True:
        resumed = part.size > 0
        fetch(
            part,
            expected=check.size,
            page=page,
            timeout=timeout,
            retries=retries,
            wait=wait,
            bar=bar,
        )
        fault = check.fault(part.path)
        if not fault:
            return
        part.drop()
        if not resumed:
            raise DownloadError(f"what came is not what was expected: {fault}")


def _source_of(came_from: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(came_from.read_bytes())["url"])
    return ""


def _stamp(file: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = file.stat()
        return status.st_ino, status.st_mtime_ns
    return None
