"""operator/setup.sh on made-up machines: what it installs, what it says, and that it then leaves things alone.

The machine is a folder of programs: real coreutils, and scripts that note how they were called. The script looks
in the real sbin folders as well, so nothing is said here of what may lie there.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
REAL = "awk bash cat chmod cp cut dirname env flock grep head ldd mkdir mktemp rm sed sha256sum sort tail tee touch tr"
PYTHON = """#!/bin/sh
case "$1" in
  -c) exit {usable};;
  -V) echo Python 3.11.2;;
  -m) mkdir -p "$3/bin"; cp {venv_python} "$3/bin/python";;
esac
"""


class Machine:
    """A checkout, a PATH of its own, and the log of what was called."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.bin, self.log = folder / "checkout", folder / "bin", folder / "log"
        self.bin.mkdir()
        for name in REAL.split():
            (self.bin / name).symlink_to(shutil.which(name) or name)
        (self.checkout / "operator").mkdir(parents=True)
        for name in ("operator/setup.sh", "requirements.lock", "pyproject.toml"):
            shutil.copy2(CHECKOUT / name, self.checkout / name)
        self.python(usable=True, pip_works=True)
        self.has("id", "#!/bin/sh\necho 0\n")
        self.has("timeout", "#!/bin/sh\nexit 1\n")  # no registry answers
        self.has("apt-get", f'#!/bin/sh\necho "apt-get $*" >> {self.log}\necho Setting up podman "(4.3)" ...\n')

    def has(self, name: str, script: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def python(self, *, usable: bool, pip_works: bool) -> None:
        """`python3`, and the Python that its virtual environments get: that one notes its arguments."""
        self.has("venv-python", f'#!/bin/sh\necho "$@" >> {self.log}\nexit {0 if pip_works else 1}\n')
        self.has("python3", PYTHON.format(usable=0 if usable else 1, venv_python=self.bin / "venv-python"))

    def setup(self) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "HOME": str(self.checkout)}
        return subprocess.run(
            [self.checkout / "operator/setup.sh"], env=env, capture_output=True, text=True, timeout=60, check=False
        )

    def called(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def complete(machine: Machine) -> None:
    for name in ("podman", "crun", "fuse-overlayfs", "slirp4netns", "newuidmap", "busybox", "npm", "iptables", "runc"):
        machine.has(name, "#!/bin/sh\n")
    for name in ("netavark", "aardvark-dns", "catatonit"):
        machine.has(name, "#!/bin/sh\n")


def test_what_is_missing_is_named_and_installed(machine: Machine) -> None:
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    install = next(line for line in machine.called() if line.startswith("apt-get") and " install " in line)
    assert {"podman", "fuse-overlayfs", "uidmap", "busybox-static", "npm"} <= set(install.split())
    assert "--no-install-recommends" in install
    assert done.stdout.startswith("setup: missing: podman ")
    assert "setup:   podman\n" in done.stdout


def test_the_packages_come_from_the_lock_and_the_project_without_any(machine: Machine) -> None:
    complete(machine)
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    packages, project = [line for line in machine.called() if " install " in line]
    assert f"--require-hashes -r {machine.checkout}/requirements.lock" in packages
    assert f"--no-deps --no-build-isolation --editable {machine.checkout}" in project


def test_a_second_time_nothing_is_done_or_said(machine: Machine) -> None:
    complete(machine)
    machine.setup()
    machine.log.unlink()
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.called() == []


def test_another_lock_makes_the_environment_anew(machine: Machine) -> None:
    complete(machine)
    machine.setup()
    machine.log.unlink()
    with (machine.checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert ".venv: creating it with Python 3.11.2" in machine.setup().stdout
    assert len(machine.called()) == 2


def test_who_may_not_install_is_told_what_root_has_to_run(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 1000\n")
    done = machine.setup()
    assert done.returncode == 1
    assert "run as root, then run this again" in done.stderr
    assert "apt-get install --no-install-recommends podman " in done.stderr
    assert machine.called() == []


def test_with_sudo_an_ordinary_user_may(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 1000\n")
    machine.has("sudo", '#!/bin/sh\n[ "$1" = -n ] && exit 0\nexec "$@"\n')
    assert machine.setup().returncode == 0
    assert any(line.startswith("apt-get") for line in machine.called())


def test_lists_that_are_too_old_are_updated_once(machine: Machine) -> None:
    state = machine.bin.parent / "updated"
    machine.has(
        "apt-get",
        f'#!/bin/sh\necho "apt-get $*" >> {machine.log}\n'
        f'case "$*" in *" update") touch {state};; *) [ -e {state} ];; esac\n',
    )
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    kinds = ["update" if line.endswith(" update") else "install" for line in machine.called() if "apt-get" in line]
    assert kinds[-2:] == ["update", "install"]


def test_apt_that_fails_is_quoted_with_the_command_to_try(machine: Machine) -> None:
    machine.has("apt-get", "#!/bin/sh\necho E: Unable to locate package podman\nexit 100\n")
    done = machine.setup()
    assert done.returncode == 1
    assert "E: Unable to locate package podman" in done.stderr


def test_pip_that_fails_leaves_nothing_that_looks_complete(machine: Machine) -> None:
    complete(machine)
    machine.python(usable=True, pip_works=False)
    done = machine.setup()
    assert done.returncode == 1
    assert "pip could not install the packages" in done.stderr
    assert not (machine.checkout / ".venv/complete").exists()


def test_no_python_that_is_new_enough(machine: Machine) -> None:
    complete(machine)
    machine.python(usable=False, pip_works=True)
    done = machine.setup()
    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr
    assert any("python3-venv" in line for line in machine.called())
