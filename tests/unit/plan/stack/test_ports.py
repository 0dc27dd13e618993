"""Readiness by listening sockets: the kernel's tables, and which ports are waited for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.compose.stack import Port, Service
from stromboli.plan.stack import ports
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.ports import Listening, Ports

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000   999        0 123 1 0000000000000000 100 0 0 10 0"
ANY6, ONE6 = "0" * 32, f"{'0' * 24}01000000"


def row(address: str, port: int, state: str = "0A", remote: str = "00000000:0000") -> str:
    return f"   0: {address}:{port:04X} {remote} {state} {REST}\n"


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("00000000", True),
        ("0B58580A", True),  # 10.88.88.11
        ("0100007F", False),
        ("0B00007F", False),  # Docker's resolver is on 127.0.0.11
        (ANY6, True),
        (ONE6, False),
        ("B80D01200000000067452301EFCDAB89", True),
        (f"{'0' * 16}FFFF00000100007F", False),
        (f"{'0' * 16}FFFF00000B58580A", True),
    ],
)
def test_addresses(address: str, is_open: bool) -> None:
    found = ports.listening([HEAD + row(address, 5432)])
    assert found == (Listening(frozenset({5432})) if is_open else Listening(loopback=frozenset({5432})))


def test_only_listening_sockets_count() -> None:
    table = HEAD + row("00000000", 80, "01", "0B58580A:C350") + row("00000000", 81, "06") + row("00000000", 82)
    assert ports.listening([table]) == Listening(frozenset({82}))


def test_a_port_on_loopback_and_elsewhere_is_open() -> None:
    assert ports.listening([HEAD + row("0100007F", 80), HEAD + row(ANY6, 80)]) == Listening(frozenset({80}))


@given(st.text(max_size=200))
def test_anything_else_is_passed_over(text: str) -> None:
    assert ports.listening([text, "0: zz:0 x 0A", f"0: {'0' * 9}:50 x 0A y", "0: 00000000 x 0A y"]) == Listening()


@pytest.mark.parametrize(
    ("family", "address", "is_open"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
    ],
)
def test_this_machine_s_own_tables(family: socket.AddressFamily, address: str, is_open: bool) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        found = ports.listening(Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6"))
        assert listener.getsockname()[1] in (found.open if is_open else found.loopback)


def test_which_ports_are_meant() -> None:
    image = Image("i", tcp=frozenset({5672, 5671, 4369}))
    bare = Service("mq")
    assert ports.of(bare, Image("i")) == frozenset()
    assert ports.of(bare, image) == {5672, 5671, 4369}
    named = Service("mq", ports=(Port("a", 5672, host=15672),), expose=(Port("b", 15672),))
    assert ports.of(named, image) == {5672, 15672}
    assert ports.of(Service("dns", expose=(Port("a", 53, "udp"),)), Image("i")) == frozenset()
    assert ports.of(Service("dns", expose=(Port("a", 53, "udp"),)), image) == image.tcp


def heard(*numbers: int) -> Listening:
    return Listening(frozenset(numbers))


def test_one_port() -> None:
    one = Ports(frozenset({5432}))
    assert not ports.step(one, heard(80), 0).ready
    assert ports.step(one, heard(5432, 80), 0).ready
    assert ports.step(one, heard(5432), 0) == Ports(frozenset({5432}), heard=frozenset({5432}), ready=True)


def test_loopback_counts_within_a_shared_namespace_only() -> None:
    found = Listening(loopback=frozenset({27017}))
    assert not ports.step(Ports(frozenset({27017})), found, 0).ready
    assert ports.step(Ports(frozenset({27017}), local=True), found, 0).ready


def test_of_several_ports_all_are_waited_for_but_only_for_a_moment() -> None:
    state = Ports(frozenset({5672, 5671, 4369}))
    state = ports.step(state, heard(), 10)
    state = ports.step(state, heard(4369), 11)
    assert not state.ready
    state = ports.step(state, heard(4369), 12.9)
    assert not state.ready
    state = ports.step(state, heard(4369, 5672), 12.95)
    assert not ports.step(state, heard(4369, 5672), 14.9).ready, "counted from the last new one"
    assert ports.step(state, heard(4369, 5672), 14.95).ready
    assert ports.step(state, heard(4369, 5672, 5671), 13).ready


def test_a_port_that_goes_again_is_not_ready() -> None:
    """As of a server that runs an image's scripts first."""
    state = ports.step(Ports(frozenset({1, 2})), heard(1), 0)
    assert not ports.step(state, heard(), 5).ready


def test_what_was_ready_stays_so() -> None:
    state = ports.step(Ports(frozenset({1})), heard(1), 0)
    assert ports.step(state, heard(), 1).ready
