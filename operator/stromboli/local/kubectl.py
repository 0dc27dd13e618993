"""Runs kubectl against the local control plane: single commands, applying manifests, following an object."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stromboli import bounds
from stromboli.errors import LocalFailure

_SECONDS = 60.0
_MANAGER = "stromboli-local"
_BEAT = 0.5

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`cache` is the folder for kubectl's discovery cache, so that nothing is written to the user's HOME."""

    program: Path
    kubeconfig: Path
    cache: Path

    def __call__(self, *args: str, stdin: str | None = None) -> str:
        """Its standard output. Raises LocalFailure with its error output if it fails."""
        try:
            done = subprocess.run(
                self._command(args),
                input=stdin,
                env=self._env(),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise LocalFailure(f"`kubectl {' '.join(args[:3])}`: {e}", "`stromboli up` starts what is down") from e
        if done.returncode:
            raise LocalFailure(f"`kubectl {' '.join(args[:3])}` failed: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """An object; None if it does not exist. Raises LocalFailure."""
        where = ("--namespace", namespace) if namespace else ()
        text = self("get", kind, name, *where, "--ignore-not-found", "--output", "json")
        return bounds.json_document(text, bounds.ANSWER) if text.strip() else None

    def create(self, obj: Object) -> None:
        """Create an object. Its fields do not belong to our field manager, so later applies keep its owner's changes.

        Raises LocalFailure if it exists.
        """
        self("create", "-f", "-", stdin=json.dumps(obj))

    def apply(self, *objects: Object, folder: Path | None = None) -> None:
        """Server-side apply of objects and of a folder's manifests.

        Fields that were applied before and are now absent are removed; others' fields stay.
        """
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self(
            "apply",
            "--server-side",
            "--force-conflicts",
            f"--field-manager={_MANAGER}",
            "-f",
            "-",
            *(("-f", str(folder)) if folder else ()),
            stdin=manifest,
        )

    def follow(self, kind: str, name: str, namespace: str, seconds: float) -> Generator[Object | None, None, None]:
        """Yields each state of an object as it arrives, and None after each half second without one.

        Raises LocalFailure after `seconds`, or if the watch ends.
        """
        args = ("get", kind, name, "--namespace", namespace, "--watch", "--output", "json")
        with subprocess.Popen(
            self._command(args), env=self._env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                yield from self._states(process, seconds)
            finally:
                process.kill()

    def _states(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[Object | None]:
        assert process.stdout is not None
        assert process.stderr is not None
        documents = Documents()
        limit = time.monotonic() + seconds
        for chunk in _chunks(process.stdout):
            if chunk is None:
                yield None
            else:
                yield from documents.feed(chunk)
            if time.monotonic() > limit:
                raise LocalFailure(f"not finished after {seconds:.0f} s", "`stromboli status` shows what is down")
        raise LocalFailure(f"the watch ended: {process.stderr.read().decode(errors='replace').strip()}")

    def _command(self, args: Sequence[str]) -> list[str]:
        return [str(self.program), *args]

    def _env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.cache)}


class Documents:
    """Splits a stream into JSON documents; chunks may end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Object]:
        """The documents that are complete with this chunk."""
        self._rest += chunk
        while True:
            try:
                text = self._rest.decode().lstrip()
                document, end = json.JSONDecoder().raw_decode(text)
            except ValueError:  # not complete yet, or cut inside a character
                return
            self._rest = text[end:].encode()
            yield document


def _chunks(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The stream's chunks as they arrive; None after each half second without one."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(_BEAT):
                yield None
                continue
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return
            yield chunk
