"""Configuration of our own Podman: apart from the machine's, fit for the machine, and forgetful after a reboot."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from stromboli.local import machine, podman_config
from stromboli.local.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    home.podman.mkdir()
    return home


def test_everything_lies_in_the_home(home: Home) -> None:
    podman_config.write(home)
    containers = tomllib.loads((home.podman / "containers.conf").read_text())
    storage = tomllib.loads((home.podman / "storage.conf").read_text())["storage"]
    places = [containers["engine"]["tmp_dir"], containers["engine"]["volume_path"]]
    places += [containers["network"]["network_config_dir"]]
    places += [storage[key] for key in ("graphroot", "rootless_storage_path", "runroot")]
    assert all(place.startswith(f"{home.podman}/") for place in places)
    assert containers["engine"]["lock_type"] == "file"


def test_the_network_backend_is_named() -> None:
    """Unless it is, Podman 4.3 takes CNI for a storage that has images but no note of its backend."""
    conf = tomllib.loads(podman_config.containers_conf(Path("/p"), None, "v2"))
    assert conf["network"]["network_backend"] == "netavark"


def test_static_dir_is_never_set() -> None:
    assert "static_dir" not in podman_config.containers_conf(Path("/p"), {"nofile": 1}, "hybrid")


@pytest.mark.parametrize(("cgroups", "runtime"), [("hybrid", "runc"), ("v2", None), ("v1", None)])
def test_runc_only_where_crun_refuses(cgroups: str, runtime: str | None) -> None:
    conf = tomllib.loads(podman_config.containers_conf(Path("/p"), None, cgroups))
    assert conf["engine"].get("runtime") == runtime


def test_limits_only_where_they_cannot_be_raised_and_soft_equals_hard() -> None:
    assert "containers" not in tomllib.loads(podman_config.containers_conf(Path("/p"), None, "v2"))
    conf = tomllib.loads(podman_config.containers_conf(Path("/p"), {"nproc": 5, "nofile": 9}, "v2"))
    assert conf["containers"]["default_ulimits"] == ["nofile=9:9", "nproc=5:5"]


def test_a_path_with_quotes_is_still_toml() -> None:
    folder = Path('/home/a "b" \\c')
    assert tomllib.loads(podman_config.storage_conf(folder))["storage"]["graphroot"] == f"{folder}/storage"


def test_the_environment_names_our_storage_and_no_other_podman(home: Home) -> None:
    env = podman_config.env(home, {"CONTAINER_HOST": "unix:///x", "STORAGE_DRIVER": "vfs", "LANG": "C"})
    assert env["CONTAINERS_STORAGE_CONF"] == str(home.podman / "storage.conf")
    assert env["LANG"] == "C"
    assert not {"CONTAINER_HOST", "STORAGE_DRIVER"} & set(env)


def test_a_users_podman_has_its_runtime_folder_in_the_home_and_its_logins_and_bus_where_they_were(
    home: Home, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "containers").mkdir(parents=True)
    bare = podman_config.env(home, {"XDG_RUNTIME_DIR": str(theirs)}, rootless=True)
    assert bare["XDG_RUNTIME_DIR"] == str(home.podman / "run")
    assert not {"REGISTRY_AUTH_FILE", "DBUS_SESSION_BUS_ADDRESS"} & set(bare)
    for path in (theirs / "containers/auth.json", theirs / "bus"):
        path.touch()
    env = podman_config.env(home, {"XDG_RUNTIME_DIR": str(theirs)}, rootless=True)
    assert env["REGISTRY_AUTH_FILE"] == str(theirs / "containers/auth.json")
    assert env["DBUS_SESSION_BUS_ADDRESS"] == f"unix:path={theirs}/bus"
    said = {"XDG_RUNTIME_DIR": str(theirs), "REGISTRY_AUTH_FILE": "/a", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/b"}
    assert (
        podman_config.env(home, said, rootless=True).items()
        >= {**said, "XDG_RUNTIME_DIR": str(home.podman / "run")}.items()
    )
    assert podman_config.env(home, said, rootless=False)["XDG_RUNTIME_DIR"] == str(theirs)


def test_registries_stay_the_machines(home: Home) -> None:
    assert "CONTAINERS_REGISTRIES_CONF" not in podman_config.env(home, {})


def test_what_podman_noted_is_forgotten_once_after_a_reboot(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    podman_config.forget_last_boot(home)
    podman_config.write(home)
    image = home.podman / "storage/image"
    image.parent.mkdir()
    image.touch()
    (home.podman / "tmp/alive").touch()
    (home.podman / "run/mounts").touch()
    assert not podman_config.forget_last_boot(home)
    assert (home.podman / "tmp/alive").exists()
    monkeypatch.setattr(machine, "epoch", lambda: "another boot")
    assert podman_config.forget_last_boot(home)
    assert not (home.podman / "tmp/alive").exists()
    assert not (home.podman / "run/mounts").exists()
    assert image.exists()
    assert not podman_config.forget_last_boot(home)
