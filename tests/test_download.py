"""Downloads from a server that truncates, stalls, corrupts, redirects, and changes its mind."""

import hashlib
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest

from learnlite.data.download import (
    DownloadError,
    download_data,
    download_url,
    file_name,
    untar_data,
)
from learnlite.data.files import get_image_files
from learnlite.data.locks import locked
from learnlite.data.urls import CHECKS, Check, URLs, home_folder
from learnlite.data.web import _Redirects

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = '"v1"'

Behaviour = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        behaviours = self.server.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        with suppress(BrokenPipeError, ConnectionResetError):
            behaviour(self)

    def start(self, code: int, **headers: Any) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, str]] = []
        self.behaviours: list[Behaviour] = [good()]
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.bin"

    @property
    def ranges(self) -> list[str | None]:
        return [request.get("Range") for request in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stopped.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNLITE_HOME", str(tmp_path / "home"))


def good(data: bytes = CONTENT, etag: str | None = ETAG, *, cut: int | None = None) -> Behaviour:
    """Serves ranges as the standard says; with `cut`, closes after so many bytes."""

    def behave(handler: Handler) -> None:
        asked = handler.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked and handler.headers.get("If-Range") != etag:
            begin, asked = 0, None
        extra = {} if etag is None else {"ETag": etag}
        if asked and begin >= len(data):
            handler.start(416, Content_Range=f"bytes */{len(data)}")
            return
        if asked:
            extra["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        handler.start(206 if asked else 200, Content_Length=len(data) - begin, **extra)
        handler.wfile.write(data[begin : None if cut is None else begin + cut])

    return behave


def stalls(after: int) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.start(200, Content_Length=len(CONTENT), ETag=ETAG)
        handler.wfile.write(CONTENT[:after])
        handler.wfile.flush()
        handler.server.stopped.wait(5)

    return behave


def trickles(handler: Handler) -> None:
    handler.start(200, Content_Length=len(CONTENT), ETag=ETAG)
    for at in range(1000):
        handler.wfile.write(CONTENT[at : at + 1])
        handler.wfile.flush()
        if handler.server.stopped.wait(0.05):
            break


def answers(code: int, **headers: Any) -> Behaviour:
    return lambda handler: handler.start(code, Content_Length=0, **headers)


def ignores_ranges(handler: Handler) -> None:
    handler.start(200, Content_Length=len(CONTENT), ETag=ETAG)
    handler.wfile.write(CONTENT)


def without_length(handler: Handler) -> None:
    handler.start(200)
    handler.wfile.write(CONTENT)


def chunked(handler: Handler, *, cut: bool = False) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.start(200, Transfer_Encoding="chunked", ETag=ETAG, Connection="close")
    for at in range(0, len(CONTENT) // (2 if cut else 1), 100_000):
        piece = CONTENT[at : at + 100_000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    if not cut:
        handler.wfile.write(b"0\r\n\r\n")
    handler.close_connection = True


def get(server: Server, dest: Path, **settings: Any) -> Path:
    return download_url(
        server.url, dest, **{"timeout": 2.0, "retries": 3, "wait": 0.001, **settings}
    )


# --- what comes is what was there


@pytest.mark.parametrize(
    "behaviour", [good(), good(etag=None), without_length, chunked], ids=lambda f: f.__name__
)
def test_a_file_comes_whole_and_alone(server: Server, tmp_path: Path, behaviour: Behaviour) -> None:
    server.behaviours = [behaviour]
    assert get(server, tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new") == ["a.bin"]
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_file_that_is_there_costs_no_request_unless_it_is_wrong_or_forced(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = get(server, tmp_path)  # a folder: the name comes from the address
    assert dest.name == "set.bin"
    get(server, dest, check=Check(sha256=SHA256))
    assert len(server.requests) == 1
    get(server, dest, force=True)
    assert len(server.requests) == 2
    dest.write_bytes(b"other")
    capsys.readouterr()
    assert get(server, dest, check=Check(size=len(CONTENT))).read_bytes() == CONTENT
    assert "again, for it has 5 bytes, and 1,024,000 were expected" in capsys.readouterr().out


def test_where_there_is_no_terminal_a_download_is_one_line_and_without_bar_none(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(server, tmp_path / "a")
    assert capsys.readouterr().out == f"downloading `{server.url}` (1.0 MB)\n"
    get(server, tmp_path / "b", bar=False)
    assert capsys.readouterr().out == ""


# --- what breaks off goes on


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.behaviours = [good(cut=400_000), good(cut=300_000), good()]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=700000-"]
    assert server.requests[1]["If-Range"] == ETAG


def test_chunks_that_end_early_are_noticed(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler: chunked(handler, cut=True), good()]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges[0] is None and len(server.ranges) == 2


def test_a_later_call_goes_on_and_another_address_does_not(server: Server, tmp_path: Path) -> None:
    dest = tmp_path / "a"
    server.behaviours = [good(cut=400_000), answers(404)]
    with pytest.raises(DownloadError):
        get(server, dest)
    assert sorted(os.listdir(tmp_path)) == ["a.part", "a.part.json"]
    server.behaviours = [good()]
    other = f"{server.url}?other"
    assert download_url(other, tmp_path / "b").read_bytes() == CONTENT
    assert server.ranges[-1] is None
    assert get(server, dest).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=400000-"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_part_of_another_address_is_not_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"wrong")
    note = {"url": "http://127.0.0.1/else", "validator": ETAG, "total": len(CONTENT)}
    (tmp_path / "a.part.json").write_text(json.dumps(note))
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("note", [b"", b"[]", b"{", b'{"url": 3}', b"\xff\xfe", b"null"])
def test_a_damaged_note_means_a_new_start(server: Server, tmp_path: Path, note: bytes) -> None:
    (tmp_path / "a.part").write_bytes(b"wrong")
    (tmp_path / "a.part.json").write_bytes(note)
    assert get(server, tmp_path / "a").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_starts_anew(server: Server, tmp_path: Path) -> None:
    new = CONTENT[::-1]
    server.behaviours = [good(cut=400_000), good(new, '"v2"')]
    assert get(server, tmp_path / "a").read_bytes() == new


def test_a_server_that_ignores_if_range_does_not_mix_two_versions(
    server: Server, tmp_path: Path
) -> None:
    new = CONTENT[::-1]

    def careless(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.headers.replace_header("If-Range", '"v2"')
        good(new, '"v2"')(handler)

    server.behaviours = [good(cut=400_000), careless]
    assert get(server, tmp_path / "a").read_bytes() == new


def test_a_server_without_ranges_or_tags_starts_anew(server: Server, tmp_path: Path) -> None:
    server.behaviours = [good(cut=400_000), ignores_ranges]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    server.behaviours = [good(etag=None, cut=400_000), good(etag=None)]
    assert get(server, tmp_path / "b").read_bytes() == CONTENT
    assert server.ranges[-1] is None
    server.behaviours = [good(etag='W/"weak"', cut=400_000), good(etag='W/"weak"')]
    assert get(server, tmp_path / "c").read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_range_beyond_the_end_starts_anew(server: Server, tmp_path: Path) -> None:
    server.behaviours = [good(cut=400_000), answers(416), good()]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", None]


def test_a_wrong_piece_is_not_appended(server: Server, tmp_path: Path) -> None:
    def wrong_piece(handler: Handler) -> None:
        handler.start(206, Content_Range=f"bytes 5-9/{len(CONTENT)}", Content_Length=5, ETag=ETAG)
        handler.wfile.write(b"wrong")

    server.behaviours = [good(cut=400_000), wrong_piece, good()]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    server.behaviours = [wrong_piece]
    with pytest.raises(DownloadError, match="answered 206"):
        get(server, tmp_path / "b")


def test_a_part_that_is_whole_needs_no_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT)
    note = {"url": server.url, "validator": ETAG, "total": len(CONTENT)}
    (tmp_path / "a.part.json").write_text(json.dumps(note))
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.requests == []


def test_a_part_that_was_spoiled_is_fetched_again_from_the_start(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.part").write_bytes(b"?" * 1000)
    note = {"url": server.url, "validator": ETAG, "total": len(CONTENT)}
    (tmp_path / "a.part.json").write_text(json.dumps(note))
    assert get(server, tmp_path / "a", check=Check(sha256=SHA256)).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


# --- waiting and giving up


def test_a_server_that_stalls_or_trickles_is_left_and_asked_again(
    server: Server, tmp_path: Path
) -> None:
    server.behaviours = [stalls(0), stalls(200_000), trickles, good()]
    assert get(server, tmp_path / "a", timeout=0.3).read_bytes() == CONTENT
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_faults_of_the_server_are_waited_out(server: Server, tmp_path: Path, code: int) -> None:
    server.behaviours = [answers(code), answers(code), good()]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT


def test_a_server_that_says_when_to_come_again_is_obeyed(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answers(503, Retry_After=1), good()]
    start = time.monotonic()
    get(server, tmp_path / "a")
    assert time.monotonic() - start >= 1


def test_a_server_that_stays_ill_is_given_up_with_a_way_out(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answers(500)]
    with pytest.raises(DownloadError) as caught:
        get(server, tmp_path / "a.tgz", retries=2)
    assert len(server.requests) == 3
    words = str(caught.value)
    for part in (server.url, "answered 500", "3 times in a row", str(tmp_path), "`a.tgz`"):
        assert part in words
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_asked_twice(server: Server, tmp_path: Path, code: int) -> None:
    server.behaviours = [answers(code)]
    with pytest.raises(DownloadError, match=f"answered {code}"):
        get(server, tmp_path / "a")
    assert len(server.requests) == 1 and os.listdir(tmp_path) == []


def test_no_server_and_no_host_are_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match="refused the connection"):
        download_url(f"http://127.0.0.1:{port}/a", tmp_path / "a")


def test_garbage_for_an_answer_is_told(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler: handler.wfile.write(b"\0\1\2 garbage\r\n\r\n") and None]
    with pytest.raises(DownloadError, match="connection broke"):
        get(server, tmp_path / "a")


# --- what is not the file is refused


def test_corrupted_bytes_are_refused_and_forgotten(server: Server, tmp_path: Path) -> None:
    bad = bytearray(CONTENT)
    bad[777_777] ^= 1
    server.behaviours = [good(bytes(bad))]
    with pytest.raises(DownloadError, match=f"SHA-256 is .*{SHA256} was expected"):
        get(server, tmp_path / "a", check=Check(len(CONTENT), SHA256))
    assert os.listdir(tmp_path) == []
    bad = bytearray(CONTENT)
    bad[0] ^= 1
    server.behaviours = [good(bytes(bad))]
    md5 = hashlib.md5(CONTENT[: 1 << 20]).hexdigest()
    with pytest.raises(DownloadError, match=f"MD5 .*{md5} was expected"):
        get(server, tmp_path / "a", check=Check(md5_start=md5))


def test_another_size_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="1,024,000 bytes, and 99 were expected: .*version"):
        get(server, tmp_path / "a", check=Check(99))
    assert os.listdir(tmp_path) == []


def test_an_endless_stream_is_cut_at_the_size_that_is_known(server: Server, tmp_path: Path) -> None:
    server.behaviours = [without_length]
    with pytest.raises(DownloadError, match="sends more than the 1,000 bytes"):
        get(server, tmp_path / "a", check=Check(1000))
    assert os.listdir(tmp_path) == []


def test_a_web_page_in_place_of_the_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda h: h.start(200, Content_Type="text/html", Content_Length=0)]
    with pytest.raises(DownloadError, match="sends a web page"):
        get(server, tmp_path / "a.tgz")
    assert get(server, tmp_path / "a.html").read_bytes() == b""


def test_a_full_disk_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match="has 1,000 bytes free"):
        get(server, tmp_path / "a")


# --- redirects


def test_redirects_are_followed_and_their_last_word_counts(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answers(302, Location="/b"), answers(307, Location="/c"), good()]
    assert get(server, tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("to", ["file:///etc/passwd", "data:,evil", "ssh://h/", "javascript:1"])
def test_redirects_out_of_the_web_are_refused(server: Server, tmp_path: Path, to: str) -> None:
    server.behaviours = [answers(302, Location=to)]
    with pytest.raises(DownloadError, match="could not be downloaded"):
        get(server, tmp_path / "a")
    assert len(server.requests) == 1 and os.listdir(tmp_path) == []


def test_a_redirect_to_a_malformed_address_is_told(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answers(302, Location="http://[::1")]
    with pytest.raises(DownloadError, match="sends on to what is no address"):
        get(server, tmp_path / "a")
    with pytest.raises(ValueError, match=r"`http://\[::1` is no address: .*; correct it"):
        download_url("http://[::1", tmp_path / "a")


def test_a_redirect_to_ftp_is_refused(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answers(302, Location="ftp://127.0.0.1/x")]
    with pytest.raises(DownloadError, match="ftp"):
        get(server, tmp_path / "a")


def test_a_redirect_from_https_to_http_is_refused() -> None:
    secure = Request("https://example.org/a")
    with pytest.raises(DownloadError, match="https was asked for"):
        _Redirects().redirect_request(
            secure, io.BytesIO(), 302, "Found", Message(), "http://example.org/a"
        )


def test_redirects_in_a_circle_end(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler: handler.start(302, Location="/a", Content_Length=0)]
    with pytest.raises(DownloadError, match="infinite loop"):
        get(server, tmp_path / "a")
    assert len(server.requests) < 15


def test_endless_redirects_to_new_places_end(server: Server, tmp_path: Path) -> None:
    def onwards(handler: Handler) -> None:
        handler.start(302, Location=f"/{len(handler.server.requests)}", Content_Length=0)

    server.behaviours = [onwards]
    with pytest.raises(DownloadError, match="answered 302"):
        get(server, tmp_path / "a")
    assert len(server.requests) < 15


# --- addresses and names


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/a", "/etc/passwd", "http:///a", ""])
def test_what_is_no_address_of_the_web_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must begin with http:// or https://"):
        download_url(url, tmp_path / "a")


def test_messages_hold_no_password_and_no_control_character(server: Server, tmp_path: Path) -> None:
    server.behaviours = [answers(404)]
    for address in (server.url, "http://127.0.0.1/set.tgz", "http://[::1/set.tgz"):
        url = address.replace("//", "//me:secret@")
        for get in (download_data, untar_data):
            with pytest.raises(ValueError, match="127|no address") as refused:
                get(url, base=tmp_path)
            assert "secret" not in "".join(traceback.format_exception(refused.value, limit=0))
    assert server.requests == [] and list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="`http://h:port/a.tgz` is no address: Port could not"):
        untar_data("http://h:port/a.tgz")
    with pytest.raises(DownloadError) as caught:
        download_url(f"{server.url}\x1b[2J", tmp_path / "a")
    assert "\x1b" not in str(caught.value)


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`timeout` must be above 0"):
        download_url("http://127.0.0.1/a", tmp_path / "a", timeout=0)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.tgz", "b.tgz"),
        ("http://h/b.tgz?x=/c.zip#d", "b.tgz"),
        ("http://h/%2e%2e%2fevil", "_evil"),
        ("http://h/a%00b%0A.zip", "a_b_.zip"),
        ("http://h/.hidden", "hidden"),
        ("http://h/a%5Cb", "a_b"),
    ],
)
def test_the_name_of_a_file_is_only_a_name(url: str, name: str) -> None:
    assert file_name(url) == name


def test_an_address_that_names_no_file_asks_for_a_name() -> None:
    with pytest.raises(ValueError, match="names no file"):
        file_name("http://h/..")


def test_every_address_is_a_https_archive_with_a_check() -> None:
    urls = [value for name, value in vars(URLs).items() if name.isupper()]
    assert len(urls) == len(set(urls)) and set(urls) == set(CHECKS)
    assert all(url.startswith("https://") and url.endswith(".tgz") for url in urls)
    for check in CHECKS.values():
        assert check.size and len(check.md5_start) == 32 and len(check.sha256) in (0, 64)


# --- two at a time, and being killed

FETCH = """
import sys
from learnlite.data.download import download_url
download_url(sys.argv[1], sys.argv[2], timeout=60)
"""


def run_fetch(url: str, dest: Path) -> "subprocess.Popen[bytes]":
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen([sys.executable, "-c", FETCH, url, str(dest)], env=environ)


def slow(handler: Handler) -> None:
    handler.start(200, Content_Length=len(CONTENT), ETag=ETAG)
    for at in range(0, len(CONTENT), 20_000):
        handler.wfile.write(CONTENT[at : at + 20_000])
        handler.wfile.flush()
        time.sleep(0.01)


def test_two_at_a_time_fetch_once(server: Server, tmp_path: Path) -> None:
    server.behaviours = [slow]
    both = [threading.Thread(target=get, args=(server, tmp_path / "a")) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(server.requests) == 1
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a"]


def test_a_killed_download_is_no_file_and_goes_on_later(server: Server, tmp_path: Path) -> None:
    server.behaviours = [stalls(600_000), good()]
    process = run_fetch(server.url, tmp_path / "a")
    part = tmp_path / "a.part"
    try:
        end = time.monotonic() + 60
        while not part.exists() or part.stat().st_size < 500_000:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait()
    assert not (tmp_path / "a").exists()
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert (server.ranges[1] or "").startswith("bytes=5") or server.ranges[1] == "bytes=600000-"
    assert os.listdir(tmp_path) == ["a"]


def test_threads_take_turns_with_a_lock(tmp_path: Path) -> None:
    running = 0
    most = 0

    def work() -> None:
        nonlocal running, most
        for _ in range(20):
            with locked(tmp_path / "x"):
                running += 1
                most = max(most, running)
                time.sleep(0.0001)
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and os.listdir(tmp_path) == []


# --- data sets


def pack(path: Path, name: str = "pets", content: str = "photo") -> Path:
    folder = path.parent / "to pack" / name / "cat"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.jpg").write_text(content)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder.parent, name)
    return path


def serve(server: Server, archive: Path) -> str:
    server.behaviours = [good(archive.read_bytes())]
    return server.url.replace("set.bin", "my_pets.tar.gz")


def test_a_data_set_is_fetched_and_extracted_once(server: Server, tmp_path: Path) -> None:
    url = serve(server, pack(tmp_path / "a.tgz"))
    path = untar_data(url)
    assert path == tmp_path / "home" / "data" / "my_pets"
    assert [file.relative_to(path).as_posix() for file in get_image_files(path)] == ["cat/1.jpg"]
    assert (tmp_path / "home" / "archive" / "my_pets.tar.gz").is_file()
    server.behaviours = [answers(500)]
    assert untar_data(url) == path
    (tmp_path / "home" / "archive" / "my_pets.tar.gz").unlink()
    assert untar_data(url) == path
    assert len(server.requests) == 1


def test_force_download_fetches_and_extracts_anew(server: Server, tmp_path: Path) -> None:
    url = serve(server, pack(tmp_path / "a.tgz"))
    path = untar_data(url)
    serve(server, pack(tmp_path / "a.tgz", content="a new photo"))
    assert untar_data(url, force_download=True) == path
    assert (path / "cat" / "1.jpg").read_text() == "a new photo"
    serve(server, pack(tmp_path / "a.tgz", content="a newer photo"))
    server.behaviours = [answers(404)]
    with pytest.raises(DownloadError):
        untar_data(url, force_download=True)
    assert (path / "cat" / "1.jpg").read_text() == "a new photo"


def test_places_are_those_of_the_arguments(server: Server, tmp_path: Path) -> None:
    url = serve(server, pack(tmp_path / "a.tgz"))
    assert untar_data(url, tmp_path / "A", tmp_path / "D") == tmp_path / "D" / "my_pets"
    assert (tmp_path / "A" / "my_pets.tar.gz").is_file()
    assert untar_data(url, base=tmp_path / "B") == tmp_path / "B" / "data" / "my_pets"
    assert untar_data(url, c_key="model") == tmp_path / "home" / "models" / "my_pets"
    assert download_data(url, c_key="storage").parent == tmp_path / "home" / "tmp"
    assert download_data(url, tmp_path / "named.tgz") == tmp_path / "named.tgz"
    assert home_folder("archive") == tmp_path / "home" / "archive"
    with pytest.raises(ValueError, match="`c_key` must be one of archive, data, model, storage"):
        untar_data(url, c_key="elsewhere")


def test_an_archive_of_ones_own_is_extracted_from_where_it_is(tmp_path: Path) -> None:
    archive = pack(tmp_path / "mine.tgz")
    for given in (archive, str(archive)):
        path = untar_data(given)
        assert path == tmp_path / "home" / "data" / "mine"
    assert len(get_image_files(path)) == 1
    archive.unlink()
    assert untar_data(archive) == path  # what is there is there
    with pytest.raises(FileNotFoundError, match="there is no archive `.*other.tgz`"):
        untar_data(tmp_path / "other.tgz")
    with pytest.raises(ValueError, match="http"):
        untar_data("file:///etc/passwd")


def test_a_set_of_the_same_name_from_elsewhere_is_not_taken_for_it(
    server: Server, tmp_path: Path
) -> None:
    url = serve(server, pack(tmp_path / "a.tgz"))
    path = untar_data(url)
    other = url.replace("/my_pets", "/else/my_pets")
    with pytest.raises(ValueError, match="was extracted from .*another folder with `data`"):
        untar_data(other)
    with pytest.raises(ValueError, match="came from `.*force_download=True"):
        download_data(other)
    assert untar_data(other, force_download=True) == path
    (tmp_path / "else").mkdir()
    mine = pack(tmp_path / "else" / "my_pets.tgz", content="quite different" * 9)
    with pytest.raises(ValueError, match="was extracted from an archive of"):
        untar_data(mine)


def test_a_file_put_there_by_hand_is_taken(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("set.bin", "pets.tgz")
    (tmp_path / "home" / "archive").mkdir(parents=True)
    pack(tmp_path / "home" / "archive" / "pets.tgz")
    assert len(get_image_files(untar_data(url))) == 1
    assert server.requests == []


def test_a_folder_put_there_by_hand_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "data" / "imagenette2-160"
    folder.mkdir(parents=True)
    assert untar_data(URLs.IMAGENETTE_160) == folder


def test_a_check_is_made_of_archives_of_ones_own_too(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz")
    with pytest.raises(ValueError, match="`.*a.tgz` is not what was expected: it has"):
        untar_data(archive, check=Check(size=3))


def test_a_damaged_archive_says_how_to_get_it_anew(server: Server, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz")
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(ValueError, match="`my_pets.tar.gz` cannot be unpacked") as caught:
        untar_data(serve(server, archive))
    assert "force_download=True" in "".join(caught.value.__notes__)
    assert not (tmp_path / "home" / "data" / "my_pets").exists()


def test_a_real_set_comes_out_whole(test_data: Path, tmp_path: Path) -> None:
    archive = test_data / "data" / "imagenette2-224.tar"
    path = untar_data(archive, data=tmp_path)
    assert path.name == "imagenette2-224"
    for part, n in (("train", 9_469), ("val", 3_925)):
        files = get_image_files(path, folders=part)
        assert len(files) == n
        assert len({file.parent.name for file in files}) == 10
    with tarfile.open(archive) as tar:
        sizes = {member.name: member.size for member in tar if member.isfile()}
    assert {
        f"{path.name}/{f.relative_to(path).as_posix()}": f.stat().st_size
        for f in get_image_files(path)
    } == sizes


def test_an_address_that_has_no_name_is_told_with_the_nearest():
    with pytest.raises(AttributeError, match="`URLs` has no `IMAGENETE`; did you mean `IMAGENETTE"):
        _ = URLs.IMAGENETE
    assert not hasattr(URLs, "nothing_like_it")
