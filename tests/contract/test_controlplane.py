"""Up, down and status of the control plane with fake programs; tests/e2e uses the real ones."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from stromboli.controlplane import certificates, cluster, ports, probes, processes
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.controlplane.parts import APISERVER, CONTROLLER_MANAGER, ETCD, ORDER
from stromboli.errors import LocalFailure
from tests.support.fake_controlplane import fake_binaries, set_mode
from tests.support.told import Told


@pytest.fixture
def programs(tmp_path: Path) -> Binaries:
    return fake_binaries(tmp_path / "bin")


@pytest.fixture
def made(tmp_path: Path, programs: Binaries) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "state", programs)
    yield made
    made.down()


@pytest.fixture
def up(made: Cluster) -> Cluster:
    made.up()
    return made


def pids(made: Cluster) -> dict[str, int]:
    """PIDs of the running parts, by name."""
    return {part.name: part.pid for part in made.parts() if part.pid}


def kill(made: Cluster, name: str) -> None:
    pid = pids(made)[name]
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    os.close(pidfd)


def server(made: Cluster) -> str:
    return str(yaml.safe_load(made.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])


def test_before_it_ever_was_up(made: Cluster) -> None:
    assert [(part.name, part.pid, part.ready) for part in made.parts()] == [(name, None, False) for name in ORDER]
    made.down()
    assert not made.kubeconfig.exists()


def test_up_starts_all_in_order_and_says_so(made: Cluster) -> None:
    told = Told()
    made.up(told)
    running = pids(made)
    assert list(running) == list(ORDER)
    assert told.done == [f"{n}: ready (pid {running[n]})" for n in ORDER]
    assert all(part.ready and part.log.exists() for part in made.parts())


def test_up_again_changes_nothing(up: Cluster) -> None:
    before, told = pids(up), Told()
    kubeconfig = up.kubeconfig.stat()
    up.up(told)
    assert pids(up) == before
    assert up.kubeconfig.stat() == kubeconfig
    assert told.lines == [f"{name}: running (pid {before[name]})" for name in ORDER]


def test_files_are_private(up: Cluster) -> None:
    state = up.kubeconfig.parent
    assert state.stat().st_mode & 0o777 == 0o700
    assert up.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_nothing_of_the_persons_environment_reaches_them(made: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCD_NAME", "theirs")
    made.up()
    for part in made.parts():
        environment = part.log.read_text().splitlines()[0]
        assert "'PATH'" in environment
        assert "ETCD_NAME" not in environment


@pytest.mark.parametrize("name", ORDER)
def test_what_was_killed_is_started_and_the_rest_left(up: Cluster, name: str) -> None:
    before = pids(up)
    kill(up, name)
    assert name not in pids(up)
    up.up()
    after = pids(up)
    assert after.pop(name) != before.pop(name)
    assert after == before


def test_down_stops_in_reverse_order_and_up_has_the_same_address(up: Cluster) -> None:
    address, told = server(up), Told()
    up.down(told)
    assert pids(up) == {}
    assert [line.partition(":")[0] for line in told.lines] == [*reversed(ORDER)]
    up.up()
    assert server(up) == address
    assert list(pids(up)) == list(ORDER)


def test_down_needs_no_programs(up: Cluster) -> None:
    Cluster(up.kubeconfig.parent).down()
    assert pids(up) == {}
    with pytest.raises(LocalFailure, match="without its programs"):
        Cluster(up.kubeconfig.parent).up()


def test_a_port_that_was_taken_meanwhile(up: Cluster) -> None:
    before = ports.read(up.kubeconfig.parent / "ports.json")
    kill(up, ETCD)
    running = pids(up)
    with socket.create_server((ports.HOST, before[ports.ETCD])):
        up.up()
    after = ports.read(up.kubeconfig.parent / "ports.json")
    assert after[ports.ETCD] != before[ports.ETCD]
    assert pids(up)[APISERVER] != running[APISERVER], "it still looks for etcd where etcd was"
    assert pids(up)[CONTROLLER_MANAGER] == running[CONTROLLER_MANAGER]


def test_a_port_that_is_taken_between_choice_and_use(made: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first port chosen is not free; the second choice is not influenced."""
    monkeypatch.setattr(probes, "_TIMEOUT", 0.5)  # the listener never answers
    told = Told()
    choose = ports.settle
    with socket.create_server((ports.HOST, 0)) as other:
        taken = other.getsockname()[1]

        def settle(file: Path, in_use: list[str]) -> dict[str, int]:
            monkeypatch.setattr(ports, "settle", choose)
            chosen = {**choose(file, in_use), ports.APISERVER: taken}
            file.write_text(str(chosen).replace("'", '"'))
            return chosen

        monkeypatch.setattr(ports, "settle", settle)
        made.up(told)
    assert any(line.startswith(f"{APISERVER}: another process has taken port {taken}") for line in told.lines)
    assert str(taken) not in server(made)
    assert list(pids(made)) == list(ORDER)


def test_one_that_ends_shows_the_end_of_its_log(made: Cluster, programs: Binaries) -> None:
    set_mode(programs, APISERVER, "ends")
    with pytest.raises(LocalFailure) as failure:
        made.up()
    text = str(failure.value)
    assert text.startswith("kube-apiserver exited before it was ready; the end of its log:\n")
    assert "line 99\n    flag provided but not defined\n" in text
    assert "line 80" not in text
    assert str(made.kubeconfig.parent / "kube-apiserver.log") in failure.value.hint
    assert list(pids(made)) == [ETCD]


def test_one_that_is_never_ready(made: Cluster, programs: Binaries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_READY_SECONDS", 0.5)
    set_mode(programs, ETCD, "unready")
    with pytest.raises(LocalFailure, match=r"etcd is not ready after 0\.\d s"):
        made.up()
    assert [(part.name, part.ready) for part in made.parts()] == [(name, False) for name in ORDER]


def test_programs_that_are_for_another_machine(made: Cluster, programs: Binaries) -> None:
    programs.etcd.write_bytes(b"\x7fELF not really")
    with pytest.raises(LocalFailure, match="etcd cannot be executed: Exec format error"):
        made.up()


def test_other_programs_are_started_in_place_of_the_old(up: Cluster, tmp_path: Path) -> None:
    before = pids(up)
    Cluster(up.kubeconfig.parent, fake_binaries(tmp_path / "newer")).up()
    assert not set(pids(up).values()) & set(before.values())


def test_a_renewed_certificate_is_served(up: Cluster) -> None:
    before = pids(up)
    certificates.ensure(up.kubeconfig.parent / "pki", datetime.now(UTC) + timedelta(days=340))
    up.up()
    assert not set(pids(up).values()) & set(before.values())
    assert all(part.ready for part in up.parts())


def test_a_pid_of_someone_elses_is_not_touched(up: Cluster, tmp_path: Path) -> None:
    stranger = processes.spawn(["/bin/sleep", "600"], {}, tmp_path / "log", tmp_path / "stranger.json", "")
    record = up.kubeconfig.parent / "run" / f"{CONTROLLER_MANAGER}.json"
    kill(up, CONTROLLER_MANAGER)
    record.write_text((tmp_path / "stranger.json").read_text().replace(str(stranger.started), "1"))
    up.up()
    up.down()
    assert processes.alive(stranger)
    assert processes.stop(stranger)


def test_a_kubeconfig_for_another_token(up: Cluster, tmp_path: Path) -> None:
    path = up.kubeconfig_for("other-token", tmp_path / "other", namespace="ns")
    document = yaml.safe_load(path.read_text())
    assert document["users"][0]["user"]["token"] == "other-token"
    assert document["clusters"] == yaml.safe_load(up.kubeconfig.read_text())["clusters"]


def test_what_the_api_server_answers(made: Cluster) -> None:
    assert made.get("/apis") == (0, "it was never started")
    made.up()
    assert made.get("/apis")[0] == 200
    kill(made, APISERVER)
    status, why = made.get("/apis")
    assert (status, bool(why)) == (0, True)


def test_status_when_its_files_were_removed(up: Cluster) -> None:
    for file in (up.kubeconfig.parent / "pki").iterdir():
        file.unlink()
    assert [part.ready for part in up.parts()] == [False] * 3
    assert list(pids(up)) == list(ORDER)
