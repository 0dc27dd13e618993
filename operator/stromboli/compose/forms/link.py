"""A link to another service in short form: `SERVICE` or `SERVICE:ALIAS`."""

from __future__ import annotations

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput


def parse(text: str) -> tuple[str, str | None]:
    """The service, and its additional name if there is one. Raises InvalidInput."""
    service, colon, alias = text.partition(":")
    if not service or ":" in alias or (colon and not alias):
        raise InvalidInput(f'"{quoted(text)}" is not a link; write SERVICE or SERVICE:ALIAS')
    return service, alias or None
