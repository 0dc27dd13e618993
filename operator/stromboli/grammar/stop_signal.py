"""Names and numbers of signals, as in STOPSIGNAL and `stop_signal`: `SIGINT`, `int`, `2`, `RTMIN+3`. Pure."""

from __future__ import annotations

import re
import signal

_NUMBER = re.compile(r"[1-9][0-9]?")
_REALTIME = re.compile(r"(RTMIN|RTMAX)(?:([+-])([0-9]{1,2}))?")


def number(text: str) -> int | None:
    """The signal's number on Linux; None if there is no such signal."""
    word = text.strip().upper().removeprefix("SIG")
    if not word.isascii():
        return None
    if _NUMBER.fullmatch(word):
        return int(word) if int(word) <= signal.SIGRTMAX else None
    if found := _REALTIME.fullmatch(word):
        base = signal.SIGRTMIN if found[1] == "RTMIN" else signal.SIGRTMAX
        value = base + int(f"{found[2] or '+'}{found[3] or 0}")
        return value if signal.SIGRTMIN <= value <= signal.SIGRTMAX else None
    named = signal.Signals.__members__.get(f"SIG{word}")
    return None if named is None else int(named)
