"""The results volume, read back: a folder, and a bucket behind a server that knows the few calls that are made."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from sweep.backends.gke.volume import Volume, results_uri, try_volume
from sweep.errors import ReportError, UsageError

KEY = ("p1", 1, 2)
ABOUT = {
    "point": "p1",
    "attempt": "1-2",
    "deployment": "d1",
    "exit_code": 0,
    "outcome": "ended",
    "started_at": "2026-01-01T00:00:00+00:00",
    "ended_at": "2026-01-01T00:10:00+00:00",
}


def published(folder: str = "bench/sweep1") -> dict[str, bytes]:
    """Return what a pod leaves, by path."""
    files = {
        "env.json": json.dumps({"node": "a4x-1", "attempt": ABOUT}).encode(),
        "report.json": b'{"performance": {}}',
        "log.txt": b"the end\n",
    }
    listed = {name: {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()} for name, text in files.items()}
    files["done.json"] = json.dumps({"files": listed}).encode()
    return {f"{folder}/p1/1-2/{name}": text for name, text in files.items()}


class Bucket(ThreadingHTTPServer):
    """Objects of any bucket by BUCKET/NAME, over the calls that pyarrow makes to list, write, read and delete."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, str] = {}

    @property
    def options(self) -> str:
        return f"endpoint_override=127.0.0.1:{self.server_port}&scheme=http&retry_limit_seconds=5"


class _Handler(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name, asked = self._name()
        if urlsplit(self.path).path.endswith("/o"):
            start = f"{name.removesuffix('/o')}/{asked.get('prefix', [''])[0]}"
            found = [self._about(each) for each in sorted(self.server.objects) if each.startswith(start)]
            self._answer(200, {"kind": "storage#objects", "items": found})
            return
        text = self.server.objects.get(name)
        if text is None:
            self._answer(404, {"error": {"code": 404, "message": f"No such object: {name}"}})
        elif name and "/o/" in self.path and asked.get("alt") != ["media"]:
            self._answer(200, self._about(name))
        else:
            self._send(200, text)

    def do_POST(self) -> None:
        self._body()
        bucket = re.findall(r"/b/([^/]+)/o", self.path)[0]
        asked = parse_qs(urlsplit(self.path).query)
        upload = str(len(self.server.uploads))
        self.server.uploads[upload] = f"{bucket}/{asked['name'][0]}"
        location = f"http://127.0.0.1:{self.server.server_port}/upload/storage/v1/b/{bucket}/o?upload_id={upload}"
        self._send(200, b"", Location=location)

    def do_PUT(self) -> None:
        upload = parse_qs(urlsplit(self.path).query)["upload_id"][0]
        name = self.server.uploads[upload]
        self.server.objects[name] = self._body()
        self._answer(200, self._about(name))

    def do_DELETE(self) -> None:
        name, _ = self._name()
        found = self.server.objects.pop(name, None)
        self._send(404 if found is None else 204, b"")

    def _name(self) -> tuple[str, dict[str, list[str]]]:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/download").removeprefix("/storage/v1/b/").lstrip("/")
        return unquote(path.replace("/o/", "/", 1)), parse_qs(url.query)

    def _about(self, name: str) -> dict[str, Any]:
        bucket, _, rest = name.partition("/")
        size = str(len(self.server.objects[name]))
        return {"kind": "storage#object", "bucket": bucket, "name": rest, "size": size, "generation": "1"}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, said: Any) -> None:
        self._send(status, json.dumps(said).encode())

    def _send(self, status: int, text: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_a_published_attempt_is_read_from_a_folder(tmp_path: Path) -> None:
    for path, text in published("sweep1").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text)
    volume = Volume(tmp_path.as_uri(), "sweep1")
    found = volume.read(KEY)
    assert found is not None
    assert (found.key, found.report, found.log_tail, found.environment["node"]) == (
        KEY,
        {"performance": {}},
        "the end\n",
        "a4x-1",
    )
    assert volume.read(("p1", 1, 1)) is None and Volume(tmp_path.as_uri(), "other").read(KEY) is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("report.json", b"{}", "is not the file that was published"),
        ("done.json", b"{", "is damaged"),
        ("done.json", b'{"files": {}}', "does not say whose it is"),
    ],
)
def test_what_is_not_as_it_was_published_is_refused(tmp_path: Path, name: str, text: bytes, said: str) -> None:
    for path, whole in published("sweep1").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text if path.endswith(name) else whole)
    with pytest.raises(ReportError, match=said):
        Volume(tmp_path.as_uri(), "sweep1").read(KEY)


def test_a_published_attempt_is_read_from_a_bucket(bucket: Bucket) -> None:
    bucket.objects |= {f"my-bucket/{path}": text for path, text in published("sweep1").items()}
    volume = Volume(f"gs://anonymous@my-bucket?{bucket.options}", "sweep1")
    found = volume.read(KEY)
    assert found is not None and (found.key, found.report) == (KEY, {"performance": {}})
    assert volume.read(("p1", 1, 1)) is None


def test_what_is_published_is_listed_where_it_is_whole(bucket: Bucket, tmp_path: Path) -> None:
    files = published("sweep1")
    files |= {path.replace("1-2", "2-1"): text for path, text in files.items() if not path.endswith("done.json")}
    files["sweep1/p1/.probe-x/done.json"] = files["sweep1/notes/done.json"] = b"nobody's"
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text)
    bucket.objects |= {f"my-bucket/{path}": text for path, text in files.items()}
    for uri in (tmp_path.as_uri(), f"gs://anonymous@my-bucket?{bucket.options}"):
        volume = Volume(uri, "sweep1")
        assert volume.published() == [KEY]
        assert (volume.deployment_of(KEY), volume.deployment_of(("p1", 1, 9))) == ("d1", "")
        assert Volume(uri, "other").published() == []


def test_trying_a_volume_leaves_nothing_there(bucket: Bucket, tmp_path: Path) -> None:
    assert try_volume(f"gs://anonymous@my-bucket?{bucket.options}", 5) is None
    assert bucket.uploads and not bucket.objects
    assert try_volume(tmp_path.as_uri(), 5) is None and not list(tmp_path.iterdir())


def test_a_volume_that_cannot_be_used_is_told() -> None:
    trouble = try_volume("gs://anonymous@my-bucket?endpoint_override=127.0.0.1:9&scheme=http", 1)
    assert trouble is not None and "connect" in trouble and len(trouble) <= 240
    assert try_volume("file:///no/such/folder", 1) is not None
    with pytest.raises(UsageError, match="cannot be used"):
        Volume("nonsense://x", "sweep1")


def test_where_results_are_read() -> None:
    assert results_uri({"results_uri": None, "bucket": None}) is None
    assert results_uri({"results_uri": None, "bucket": "b"}) == "gs://b"
    assert results_uri({"results_uri": "file:///x", "bucket": "b"}) == "file:///x"
