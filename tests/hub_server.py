# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A model hub on loopback: as much of the Hugging Face hub's HTTP interface as downloading a repository takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Files by name at one commit.

    Attributes:
        refusal: status and X-Error-Code of every answer, for one that this user may not read.
    """

    files: Mapping[str, bytes]
    revisions: tuple[str, ...] = ("main",)
    refusal: tuple[int, str] | None = None

    @classmethod
    def of(cls, folder: Path, **more: Any) -> Repository:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return cls({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, **more)

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + hashlib.sha1(content).digest())
        return digest.hexdigest()


@dataclass
class Hub:
    """The server's state.

    Attributes:
        repositories: by id; a list holds one per revision.
        asked: method, path and Range of every request.
        bodies: names of files whose content was sent, whole or in part.
        cuts: by file name, after how many bytes the next connection for it breaks off.
        failures: by file name, the status that a request for its content gets.
        endless: names of files whose content never comes to an end.
        before_body: called with the name before a file's content is sent.
    """

    repositories: dict[str, list[Repository]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    cuts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    before_body: Callable[[str], None] = lambda name: None
    url: str = ""

    def add(self, name: str, *revisions: Repository) -> None:
        self.repositories[name] = list(revisions)

    def ranges(self, name: str) -> list[str | None]:
        """The Range header of every request for a file's content."""
        return [found for method, path, found in self.asked if method == "GET" and path.endswith(f"/{name}")]


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path, self.headers["Range"]))
        self.hub.tokens.add(self.headers["Authorization"])
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)/?)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api is not None:
            name, kind, revision = api.groups()
            found = self._find(name, unquote(revision or "main"))
            if found is not None:
                self._send(json.dumps(_tree(found) if kind == "tree" else _info(name, found)).encode(), {})
        elif file is not None:
            found = self._find(file[1], unquote(file[2]))
            if found is not None:
                self._file(found, unquote(file[3]), body)
        else:
            self._fail(404, "NotFound")

    def _find(self, name: str, revision: str) -> Repository | None:
        known = self.hub.repositories.get(name)
        if known is None:
            self._fail(401, "RepoNotFound")
            return None
        for repository in known:
            if repository.refusal is not None:
                self._fail(*repository.refusal)
                return None
            if revision in (*repository.revisions, repository.commit):
                return repository
        self._fail(404, "RevisionNotFound")
        return None

    def _file(self, repository: Repository, name: str, body: bool) -> None:
        if name not in repository.files:
            self._fail(404, "EntryNotFound")
            return
        content = repository.files[name]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": repository.commit}
        if not body:
            self._send(content, headers, body=False)
            return
        self.hub.before_body(name)
        if name in self.hub.failures:
            self._fail(self.hub.failures[name], "")
            return
        self.hub.bodies.append(name)
        if name in self.hub.endless:
            self._send_without_end(content, headers)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(asked[1]) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], headers, status=206 if asked else 200, cut=self.hub.cuts.pop(name, None))

    def _send(
        self,
        content: bytes,
        headers: Mapping[str, str],
        *,
        status: int = 200,
        body: bool = True,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        self.wfile.write(content[:cut])
        self.close_connection = cut is not None

    def _send_without_end(self, content: bytes, headers: Mapping[str, str]) -> None:
        self._send(b"", {**headers, "Content-Length": str(1 << 50)})
        self.close_connection = True
        with suppress(OSError):  # the reader has gone
            while True:
                self.wfile.write(content)
                time.sleep(0.01)

    def _fail(self, status: int, code: str) -> None:
        self._send(b"", {"X-Error-Code": code} if code else {}, status=status, body=False)


def _info(name: str, repository: Repository) -> dict[str, Any]:
    files = [{"rfilename": file} for file in repository.files]
    return {"id": name, "modelId": name, "sha": repository.commit, "private": False, "siblings": files, "tags": []}


def _tree(repository: Repository) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in repository.files.items()
    ]
