"""An API server that does not answer, said once, while a command tries again and again."""

from __future__ import annotations

from collections.abc import Callable

from stromboli.errors import ApiRefused, ApiUnreachable


class Outage:
    """`say` gets a sentence whenever the cause is another one than before."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = ""

    def lost(self, error: ApiUnreachable | ApiRefused) -> None:
        if error.message != self._said:
            self._said = error.message
            self._say(f"{error.message}; trying again")

    def over(self) -> None:
        """It has answered."""
        self._said = ""
