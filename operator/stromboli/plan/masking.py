"""Masks secrets in an output that is read by offset: each is replaced by as many `*` as it has bytes. Pure.

So offsets stay true, and JSON stays JSON. What is a secret, and in which forms it is found, is decided in redaction.py;
here they are found in bytes. Whether a byte is masked depends on the bytes around it alone, never on where the reading
began or how it was divided: a caller gives the bytes before those that it wants (`Masks.reach`), and does not get the
last ones while they may be the beginning of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stromboli.plan.needles import Needles
from stromboli.plan.redaction import KEY_BEGINS, KEY_LONGEST, KEY_SHORTEST, SHORTEST, Secrets

_BEGINS = KEY_BEGINS.encode("ascii")
_REST = re.compile(rb"[A-Za-z0-9_-]{%d,%d}" % (KEY_SHORTEST, KEY_LONGEST))
_BEGUN = re.compile(rb"[A-Za-z0-9_-]*")
_UNKNOWN = "�"  # where a value is not UTF-8: what it was is not known, but what is around it is


@dataclass(frozen=True, slots=True)
class Masked:
    """`data` without secrets. After it, the last `begun` bytes of what was given may be the beginning of one."""

    data: bytes
    begun: int


class Masks:
    """Finds what must not be shown. `reach` is how many bytes before and after one decide whether it is masked."""

    def __init__(self, secrets: Secrets) -> None:
        """`secrets` have to be known."""
        assert secrets.known, "without its secrets, nothing of an output may be shown"
        self._needles = Needles(_needles(secrets), SHORTEST)
        self.reach = max(len(_BEGINS) + KEY_LONGEST, self._needles.longest) - 1

    def masked(self, window: bytes, begin: int, *, last: bool) -> Masked:
        """`window[begin:]` without secrets, where `window` has the `reach` bytes before that, or all that there are.

        If it is not the `last` part of the output, it ends before what may be the beginning of a secret.
        """
        begun = 0 if last else self._begun(window)
        end = max(len(window) - begun, begin)
        data = bytearray(window[begin:end])
        for start, stop in self._spans(window):
            start, stop = max(start, begin), min(stop, end)
            if start < stop:
                data[start - begin : stop - begin] = b"*" * (stop - start)
        return Masked(bytes(data), begun)

    def is_in(self, window: bytes) -> bool:
        """Whether there is a whole secret in it."""
        return next(self._spans(window), None) is not None

    def _spans(self, window: bytes) -> Iterator[tuple[int, int]]:
        """Where secrets are; they may overlap."""
        for at in _places(window, _BEGINS):
            if match := _REST.match(window, at + len(_BEGINS)):
                yield at, match.end()
        yield from self._needles.spans(window)

    def _begun(self, window: bytes) -> int:
        """The length of the longest end of `window` that is the beginning of a secret, but no whole one."""
        return max(_key_begun(window), self._needles.begun(window))


class Flow:
    """Masks what comes piece by piece and cannot be read again."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._before = b""  # as much of what was returned as decides about what follows
        self._held = b""

    def masked(self, piece: bytes, *, last: bool = False) -> bytes:
        """The next bytes without secrets; what may begin one is returned later."""
        window = self._before + self._held + piece
        begin = len(self._before)
        data = self._masks.masked(window, begin, last=last).data
        end = begin + len(data)
        self._before, self._held = window[max(end - self._masks.reach, 0) : end], window[end:]
        return data


def _needles(secrets: Secrets) -> Iterator[bytes]:
    for form in secrets.forms:
        for part in form.split(_UNKNOWN):
            if len(part) >= SHORTEST:
                yield part.encode("utf-8", "surrogatepass")


def _places(window: bytes, needle: bytes) -> Iterator[int]:
    at = window.find(needle)
    while at >= 0:
        yield at
        at = window.find(needle, at + 1)


def _key_begun(window: bytes) -> int:
    """The same, for what has the form of a key."""
    tail = window[-(len(_BEGINS) + KEY_SHORTEST - 1) :]
    for at in _places(tail, _BEGINS):
        if _BEGUN.fullmatch(tail, at + len(_BEGINS)):
            return len(tail) - at
    return next((n for n in range(min(len(_BEGINS) - 1, len(tail)), 0, -1) if _BEGINS.startswith(tail[-n:])), 0)
