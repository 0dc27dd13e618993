"""Escapes untrusted text for terminals: control and bidirectional characters become visible escapes. Pure.

`kubectl -o jsonpath` prints a status verbatim. An escape character in it can recolour the screen, set the clipboard
or hide what follows, and a bidirectional control shows text in a different order from the stored one.
"""

from __future__ import annotations

import re

# All control characters except line feed and tab; bidirectional and other invisible formatting characters, lone
# surrogates, and tag characters. Joiners stay: emoji and several scripts need them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def text(said: str) -> str:
    """`said` with such characters written as `\\x1b`, `\\u202e`, `\\U000e0041`, and CRLF as a line feed."""
    return _STEERING.sub(_escaped, said.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
