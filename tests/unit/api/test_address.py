"""What the command line makes of `api.json`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from stromboli.api import address
from stromboli.api.address import Address
from stromboli.errors import LocalFailure


def test_what_was_written_is_read(tmp_path: Path) -> None:
    for port in (1, 2):
        written = Address(f"https://127.0.0.1:{port}", "-----BEGIN CERTIFICATE-----\n…\n".replace("…", "A"))
        address.write(tmp_path, written)
        assert address.read(tmp_path) == written
    assert stat.S_IMODE((tmp_path / address.FILE).stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == [address.FILE]


def test_a_write_that_was_cut_short_does_not_disturb_the_next(tmp_path: Path) -> None:
    (tmp_path / f".{address.FILE}.new").write_text("{")
    address.write(tmp_path, Address("https://h:1", "x"))
    assert address.read(tmp_path) == Address("https://h:1", "x")


def test_where_no_operator_is(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match=r"no operator is running in .*\n  → `stromboli up` starts it"):
        address.read(tmp_path)
    address.remove(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b"\xff",
        json.dumps({"url": 7, "ca": "x"}).encode(),
        json.dumps({"url": "https://h:1", "ca": None}).encode(),
        json.dumps({"url": "http://h:1", "ca": "x"}).encode(),
    ],
)
def test_what_no_operator_wrote(tmp_path: Path, content: bytes) -> None:
    (tmp_path / address.FILE).write_bytes(content)
    with pytest.raises(LocalFailure, match="restart the operator"):
        address.read(tmp_path)
