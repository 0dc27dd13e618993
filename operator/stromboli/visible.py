"""Text of others on a person's terminal: what would steer it, or turn text around, is shown as what it is. Pure.

`kubectl -o jsonpath` prints a status as it stands. An escape character in it recolours the screen, sets the clipboard
or hides what follows, and a directional mark shows text in another order than it has.
"""

from __future__ import annotations

import re

# All control characters but a line feed and a tab; directional and other invisible formatting, half pairs, and tags.
# Joiners stay: emoji and several scripts need them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def text(said: str) -> str:
    """`said` with such characters as `\\x1b`, `\\u202e`, `\\U000e0041`, and line ends as line feeds."""
    return _STEERING.sub(_escaped, said.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
