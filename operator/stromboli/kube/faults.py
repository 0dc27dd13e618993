"""What httpx2 raises for a call to the API server → our errors (errors.py)."""

from __future__ import annotations

import httpx2

from stromboli.errors import ClusterUnavailable, Conflict, Rejected, StromboliError


def code(error: Exception) -> int:
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code
    return 0


def refused(what: str, error: Exception) -> StromboliError:
    """What is raised for a write → our tree."""
    if code(error) in (404, 409):
        return Conflict(_text(error))
    # half of a surrogate pair cannot even be sent
    if code(error) in (400, 413, 422) or isinstance(error, UnicodeEncodeError) or _is_too_large(error):
        return Rejected(f"the API server refuses {what}: {_text(error)}")
    return unavailable(error)


def _is_too_large(error: Exception) -> bool:
    """What etcd will not take is an internal error for the API server: by its own limit, or by that of gRPC."""
    return code(error) == 500 and any(words in str(error) for words in ("too large", "larger than max"))


def unavailable(error: Exception) -> ClusterUnavailable:
    """What is raised for a read → our tree. A kind that is not served (404 of a list) is unknown, not empty."""
    return ClusterUnavailable(f"the API server: {_text(error)}")


def _text(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__
