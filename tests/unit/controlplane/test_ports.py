"""Ports stay the same, unless someone else has taken one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stromboli.controlplane import ports


def test_chosen_once_and_all_different(tmp_path: Path) -> None:
    first = ports.settle(tmp_path / "ports.json", [])
    assert sorted(first) == sorted(ports.NAMES)
    assert len(set(first.values())) == len(ports.NAMES)
    assert ports.settle(tmp_path / "ports.json", []) == first
    assert ports.read(tmp_path / "ports.json") == first


def test_one_that_is_taken_is_chosen_again(tmp_path: Path) -> None:
    first = ports.settle(tmp_path / "ports.json", [])
    with socket.create_server((ports.HOST, first[ports.ETCD])):
        assert not ports.free(first[ports.ETCD])
        second = ports.settle(tmp_path / "ports.json", [])
    assert second.pop(ports.ETCD) != first.pop(ports.ETCD)
    assert second == first


def test_one_that_our_own_process_holds_stays(tmp_path: Path) -> None:
    first = ports.settle(tmp_path / "ports.json", [])
    with socket.create_server((ports.HOST, first[ports.ETCD])):
        assert ports.settle(tmp_path / "ports.json", [ports.ETCD]) == first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"etcd": "x", "other": 1}', '{"etcd": 2379}'])
def test_a_spoilt_file_is_no_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert ports.read(tmp_path / "ports.json") == {}
    assert sorted(ports.settle(tmp_path / "ports.json", [])) == sorted(ports.NAMES)


def test_a_file_of_its_own_for_another_process(tmp_path: Path) -> None:
    first = ports.settle(tmp_path / "gateway.json", [], ["gateway"])
    assert list(first) == ["gateway"]
    assert ports.settle(tmp_path / "gateway.json", [], ["gateway"]) == first
    assert ports.read(tmp_path / "gateway.json", ["gateway"]) == first
    assert ports.read(tmp_path / "gateway.json") == {}
