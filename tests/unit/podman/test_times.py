"""Podman's timestamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from stromboli.podman.times import NEVER, moment, moment_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T02:14:22.135919216Z", datetime(2026, 11, 25, 2, 14, 22, 135919, tzinfo=UTC)),
        ("2026-11-25T02:14:22Z", datetime(2026, 11, 25, 2, 14, 22, tzinfo=UTC)),
        (
            "2026-11-25T02:14:22.1+01:00",
            datetime(2026, 11, 25, 2, 14, 22, 100000, tzinfo=timezone(timedelta(hours=1))),
        ),
        (NEVER, None),
        # An image may say that it is from any time, and some cannot be converted or written.
        ("9999-12-31T23:59:59-23:00", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("0500-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_moments(text: str, expected: datetime | None) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (0, None),
        (-62135596800, None),
        (253402300799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253402300800, None),
        (1 << 62, None),
        (1 << 70, None),
    ],
)
def test_seconds(seconds: int, expected: datetime | None) -> None:
    assert moment_of(seconds) == expected
