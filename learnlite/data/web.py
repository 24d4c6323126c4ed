"""Getting one file over HTTP, however often the connection breaks.

Only http and https are spoken: there is no code here that opens `file:` or `ftp:` addresses.
"""

import http.client
import json
import re
import socket
import ssl
import time
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from learnlite.data.byte_bar import ByteBar, size_text
from learnlite.data.members import check_space, shown

_CHUNK = 1 << 18
_PROGRESS = 1 << 20  # bytes after which a server has its tries again
_LEAST_RATE = 100  # bytes a second; less counts as nothing
_LONGEST_WAIT = 30.0  # seconds between two tries
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_KEPT = "%/:=&?~#+!$,;'@()*[]"  # in addresses; the rest is quoted
_USER = re.compile(r"//[^/]*@")  # and the password


class DownloadError(OSError):
    """A file that could not be had; the message tells the address, the cause, and the way out."""


class _BrokenOff(Exception):
    """Worth another try, after so many seconds if the server named them."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


@dataclass
class Part:
    """The part of a file that is here, and a note beside it of what it is a part of."""

    path: Path
    url: str
    validator: str = ""
    total: int | None = None

    def __post_init__(self) -> None:
        self._note = self.path.with_name(f"{self.path.name}.json")
        try:
            note = json.loads(self._note.read_bytes())
            if note["url"] == self.url:
                validator, total = note["validator"], note["total"]
                if isinstance(validator, str) and isinstance(total, int | None):
                    self.validator, self.total = validator, total
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        if not self.validator or (self.total is not None and self.size > self.total):
            self.drop()

    @property
    def size(self) -> int:
        """The bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self, validator: str, total: int | None) -> None:
        """Begin anew, with what the server says of the file."""
        self.drop()
        self.validator, self.total = validator, total
        note = {"url": self.url, "validator": validator, "total": total}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def drop(self) -> None:
        """Forget what is here."""
        self.path.unlink(missing_ok=True)
        self.forget_note()
        self.validator, self.total = "", None

    def forget_note(self) -> None:
        """The part is the whole file, or none."""
        self._note.unlink(missing_ok=True)


def fetch(
    part: Part,
    *,
    expected: int | None = None,
    page: bool = False,
    timeout: float,
    retries: int,
    wait: float,
    bar: bool = True,
) -> None:
    """Complete a part; tries again where that may help, and goes on where it broke off."""
    if part.total is not None and part.size == part.total:
        return None  # it was cut off between the last byte and its new name
    name = shown(part.path.name.removesuffix(".part"))
    tries = 0
    with ByteBar(name, expected, f"downloading `{shown_url(part.url)}`", bar=bar) as progress:
        while True:
            before = part.size
            try:
                return _try(part, expected, page, timeout, progress)
            except _BrokenOff as error:
                tries = 1 if part.size - before >= _PROGRESS else tries + 1
                if tries > retries:
                    here = size_text(part.size)
                    kept = f"; {here} are kept and the next call goes on" if part.validator else ""
                    raise DownloadError(f"{error}, {tries} times in a row{kept}") from error
                time.sleep(min(max(wait * 2 ** (tries - 1), error.after), _LONGEST_WAIT))


def shown_url(url: str) -> str:
    """An address as a message may hold it: without a password, and not endless.

    >>> shown_url("https://me:secret@example.org/a.tgz")
    'https://example.org/a.tgz'
    """
    parts = urlsplit(url)
    return shown(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))


def check_url(url: str) -> None:
    """Refuse what is no address of a file on the web, and one that holds a password.

    >>> check_url("https://me:secret@example.org/a.tgz")
    Traceback (most recent call last):
    ...
    ValueError: `https://example.org/a.tgz` was given with a name or a password, which are not...
    """
    try:
        parts = urlsplit(url)
        has_user = "@" in parts.netloc
        _ = parts.port  # refuses what is no number
    except ValueError as error:
        why = "" if _USER.search(url) else f": {error}"  # which may hold all of it
        raise ValueError(
            f"`{shown(_USER.sub('//', url))}` is no address{why}; correct it"
        ) from None
    if has_user:
        raise ValueError(
            f"`{shown_url(url)}` was given with a name or a password, which are not sent from "
            "here; fetch the file by other means, and give its path to `untar_data`"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"an address must begin with http:// or https:// and name a host, got "
            f"`{shown_url(url)}`; give a file on this machine as a `Path`"
        )


def _try(part: Part, expected: int | None, page: bool, timeout: float, progress: ByteBar) -> None:
    headers = {"User-Agent": "learnlite", "Accept-Encoding": "identity"}
    if part.size and part.validator:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    with _open(part, headers, timeout) as response:
        length = response.length  # None if the server does not say
        if response.status == 206 and "Range" in headers:
            _check_range(part, response.headers)
        else:
            _check_kind(response, page)
            part.start(_validator(response.headers), length)
        done = part.size
        total = part.total if length is None else done + length
        if expected is not None and total is not None and total != expected:
            part.drop()
            raise DownloadError(
                f"the server has a file of {total:,} bytes, and {expected:,} were expected: "
                "it is another version"
            )
        progress.total = total or expected
        if progress.total is not None:
            check_space(part.path.parent, progress.total - done)
        _copy(response, part, done, progress, timeout)


def _copy(
    response: http.client.HTTPResponse, part: Part, done: int, progress: ByteBar, timeout: float
) -> None:
    limit = progress.total
    since, mark = time.monotonic(), done
    with part.path.open("ab") as file:
        while data := _read(response):
            file.write(data)
            done += len(data)
            progress.show(done)
            if limit is not None and done > limit:
                break
            now = time.monotonic()
            if now - since > timeout:
                if done - mark < _LEAST_RATE * timeout:
                    raise _BrokenOff(f"it stalled: {done - mark} bytes in {timeout:g} s")
                since, mark = now, done
    if limit is not None and done > limit:
        part.drop()
        raise DownloadError(f"the server sends more than the {limit:,} bytes of the file")
    if limit is not None and done < limit:
        raise _BrokenOff(f"the connection closed after {done:,} of {limit:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except TimeoutError as error:
        raise _BrokenOff("it stalled") from error
    except (ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
        raise _BrokenOff(f"the connection broke ({type(error).__name__})") from error


def _open(part: Part, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    try:
        request = Request(quote(part.url, safe=_KEPT), headers=headers)
        response: http.client.HTTPResponse = _opener().open(request, timeout=timeout)
        return response
    except HTTPError as error:
        with error:
            if error.code == 416 and part.size:
                part.drop()
                raise _BrokenOff("the server has less than is here") from error
            reason = str(error.reason).partition("\n")[0]  # of a loop it tells more in the next
            what = f"the server answered {error.code} ({shown(reason)})"
            if error.code in _TRANSIENT:
                raise _BrokenOff(what, _seconds(error.headers.get("Retry-After"))) from error
            raise DownloadError(what) from error
    except URLError as error:
        raise _unreached(error.reason) from error
    except DownloadError:
        raise
    except ValueError as error:  # of `urlsplit`, for an address in an answer
        raise DownloadError(f"the server sends on to what is no address ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreached(error) from error


def _unreached(reason: Any) -> Exception:
    """What it means that no answer came."""
    if isinstance(reason, TimeoutError):
        return _BrokenOff("the server did not answer in time")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(f"the server cannot prove who it is ({reason.verify_message})")
    if isinstance(reason, socket.gaierror):
        return DownloadError("its host was not found, as without a connection to the internet")
    if isinstance(reason, ConnectionRefusedError):
        return DownloadError("the server refused the connection")
    if isinstance(reason, OSError | http.client.HTTPException):
        return _BrokenOff(f"the connection broke ({type(reason).__name__})")
    return DownloadError(shown(str(reason)))


class _Redirects(HTTPRedirectHandler):
    """Follows up to ten times, and never from https to http; Python's own never leaves the web."""

    max_redirections = 10

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        if (urlsplit(req.full_url).scheme, urlsplit(newurl).scheme) == ("https", "http"):
            fp.close()
            raise DownloadError(
                f"the server sends on to `{shown_url(newurl)}`, which is open to everyone on the "
                "way, and https was asked for"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        UnknownHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPDefaultErrorHandler,
        _Redirects,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _check_range(part: Part, headers: Message) -> None:
    """Whether what comes fits to what is here; if not, all must come again."""
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    fits = found is not None and int(found[1]) == part.size
    if found is not None and found[2] != "*" and part.total is not None:
        fits = fits and int(found[2]) == part.total
    validator = _validator(headers)
    if not fits or (validator and validator != part.validator):
        part.drop()
        raise _BrokenOff("the file on the server changed")


def _check_kind(response: http.client.HTTPResponse, page: bool) -> None:
    if response.status != 200:
        raise DownloadError(f"the server answered {response.status}, which is no file")
    if response.headers.get_content_type() == "text/html" and not page:
        raise DownloadError("the server sends a web page, not the file; open it in a browser")


def _validator(headers: Message) -> str:
    """What tells this version of the file from others: a strong ETag, or the time of change."""
    etag = str(headers.get("ETag", ""))
    if etag and not etag.startswith("W/"):
        return etag
    return str(headers.get("Last-Modified", ""))


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isascii() and text.isdigit() else 0.0
