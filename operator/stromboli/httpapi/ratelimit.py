"""How often each caller may call: a bucket of tokens for each of them, which fills at a rate. No clock is read here."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache

_CALLERS = 4096  # whose buckets are remembered; that of a caller who was long away is full again anyway


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """`rate` calls a second for each caller, and `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: LRUCache[str, _Bucket] = LRUCache(_CALLERS)

    def wait(self, caller: str, now: float) -> float:
        """0 if the caller may call now, which then counts; otherwise the seconds after which it may."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / self._rate
