"""Text that is printed piece by piece: lines, indented ones, and a last line that may still grow. Pure."""

from __future__ import annotations


class Page:
    """Collects text until it is taken."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether the last line has no end yet."""
        return self._open

    def write(self, text: str, indent: str = "") -> None:
        """Continue the last line. Each line that begins here is indented."""
        for part in text.splitlines(keepends=True):
            if not self._open and part != "\n":
                self._parts.append(indent)
            self._parts.append(part)
            self._open = not part.endswith("\n")

    def end_line(self) -> None:
        """End the last line, if it is open."""
        if self._open:
            self.write("\n")

    def line(self, text: str, indent: str = "") -> None:
        """A line of its own."""
        self.end_line()
        self.write(f"{text}\n", indent)

    def take(self) -> str:
        """What was written since it was taken last."""
        text = "".join(self._parts)
        self._parts.clear()
        return text
