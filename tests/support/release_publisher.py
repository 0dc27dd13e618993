"""A release server on loopback with the layout of dl.k8s.io and of etcd's releases."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stromboli.controlplane import versions
from stromboli.controlplane.download import Sources


class Publisher:
    """`files` by path, all valid until a test changes them; `asked` are the requested paths."""

    def __init__(self, arch: str) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.asked: list[str] = []
        self.kubernetes = f"/v{versions.KUBERNETES}/bin/linux/{arch}"
        for name in ("kube-apiserver", "kube-controller-manager", "kubectl"):
            content = f"#!/bin/sh\necho {name}\n".encode()
            self.files[f"{self.kubernetes}/{name}"] = content
            self.files[f"{self.kubernetes}/{name}.sha256"] = hashlib.sha256(content).hexdigest().encode()
        folder = f"etcd-v{versions.ETCD}-linux-{arch}"
        self.archive = f"/v{versions.ETCD}/{folder}.tar.gz"
        self.sums = f"/v{versions.ETCD}/SHA256SUMS"
        self.publish_etcd({f"{folder}/README.md": b"read", f"{folder}/etcd": b"#!/bin/sh\necho etcd\n"})

    def publish_etcd(self, members: dict[str, bytes]) -> None:
        """Publish an archive of `members`, and a checksum file that has its checksum among others."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        self.files[self.archive] = buffer.getvalue()
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        name = self.archive.rpartition("/")[2]
        self.files[self.sums] = f"{'0' * 64}  other.zip\n{digest}  {name}\n".encode()


@contextmanager
def serving(publisher: Publisher) -> Iterator[Sources]:
    """Serve inside the block. Yields the base URLs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append(self.path)
            if self.path in publisher.moved:
                self.send_response(302)
                self.send_header("Location", publisher.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = publisher.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Discard the access log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield Sources(url, url)
        finally:
            server.shutdown()
            thread.join()
