"""One fake program that stands in for etcd, kube-apiserver and kube-controller-manager.

It accepts their flags, serves its port over TLS and answers 200 to everything. A file `NAME.mode` beside it changes
that: `ends` (prints an error and exits), `unready` (answers 503).
"""

from __future__ import annotations

import sys
from pathlib import Path

from stromboli.controlplane import versions
from stromboli.controlplane.binaries import Binaries

_SCRIPT = """#!{python} -IS
import os, pathlib, socket, ssl, sys
here = pathlib.Path(sys.argv[0])
flags = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:])
mode = here.with_suffix(".mode").read_text() if here.with_suffix(".mode").exists() else ""
print("environment", sorted(os.environ), flush=True)
if mode == "ends":
    for number in range(100):
        print("line", number, flush=True)
    sys.exit("flag provided but not defined")
port = flags.get("secure-port") or flags["listen-client-urls"].rpartition(":")[2]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(
    flags.get("tls-cert-file") or flags["cert-file"], flags.get("tls-private-key-file") or flags["key-file"]
)
status = b"503 No" if mode == "unready" else b"200 OK"
with socket.create_server(("127.0.0.1", int(port))) as server:
    while True:
        connection, _ = server.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
        except OSError:
            continue  # the client does not trust the certificate, or disconnected
"""


def fake_binaries(folder: Path) -> Binaries:
    """A complete set of fake programs in `folder`."""
    folder.mkdir(parents=True)
    for name in versions.PROGRAMS:
        (folder / name).write_text(_SCRIPT.format(python=sys.executable))
        (folder / name).chmod(0o755)
    return Binaries(folder, "fake")


def set_mode(binaries: Binaries, name: str, mode: str) -> None:
    """Set the mode of the program `name`, effective from its next start."""
    (binaries.folder / f"{name}.mode").write_text(mode)
