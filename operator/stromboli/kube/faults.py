"""Maps what a call to the API server raises to what its callers handle (errors.py)."""

from __future__ import annotations

from stromboli.errors import ClusterUnavailable, Conflict, HttpRefused, Rejected, StromboliError


def code(error: Exception) -> int:
    return error.status if isinstance(error, HttpRefused) else 0


def refused(what: str, error: Exception) -> StromboliError:
    """Maps the error of a write."""
    if code(error) in (404, 409):
        return Conflict(_text(error))
    # half of a surrogate pair cannot even be sent
    if code(error) in (400, 413, 422) or isinstance(error, UnicodeEncodeError) or _is_too_large(error):
        return Rejected(f"the API server refuses {what}: {_text(error)}")
    return unavailable(error)


def forbidden(what: str, error: Exception) -> Rejected:
    """Maps a 403 that concerns one object only."""
    return Rejected(f"the API server forbids {what}: {_text(error)}")


def _is_too_large(error: Exception) -> bool:
    """Whether etcd refused the size, by its own limit or gRPC's: the API server reports that as an internal error."""
    return code(error) == 500 and any(words in str(error) for words in ("too large", "larger than max"))


def unavailable(error: Exception) -> ClusterUnavailable:
    """Maps the error of a read. A kind that is not served (404 for a list) is unknown, not empty."""
    return ClusterUnavailable(f"the API server: {_text(error)}")


def _text(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__
