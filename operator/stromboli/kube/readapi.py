"""How answers of the read API are judged, whoever has asked: the command line (api/client.py), or the HTTP API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from stromboli.errors import ApiUnreachable
from stromboli.kube import refusals

D = TypeVar("D", bound=Mapping[str, Any])


@contextmanager
def valid(path: str) -> Iterator[None]:
    """What is read of an answer inside the block is there, and of the right type. Raises ApiUnreachable."""
    try:
        yield
    except KeyError as e:
        raise ApiUnreachable(f"the read API at {path} gives no valid answer: {e} is missing") from e
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise ApiUnreachable(f"the read API at {path} gives no valid answer ({type(e).__name__})") from e


def last(answer: D | None, path: str) -> D:
    """The last line of an answer whose other lines say how far it is; None if it has no such line.

    Raises ApiRefused if it is an error, ApiUnreachable if there is none.
    """
    if answer is None:
        raise ApiUnreachable(f"the answer of the read API at {path} ends before its end", "try again")
    if answer.get("kind") == "Status":
        code = answer.get("code")
        raise refusals.of_status(code if isinstance(code, int) else 500, answer, path)
    return answer
