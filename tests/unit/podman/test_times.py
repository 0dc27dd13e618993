"""Podman's timestamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from stromboli.podman.times import NEVER, moment


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
    ],
)
def test_moments(text: str, expected: datetime | None) -> None:
    assert moment(text) == expected
