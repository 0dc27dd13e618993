"""The supervisor as PID 1 of real containers, in images that provide as little as possible."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt import busybox, records, seals
from stromboli.attempt.seals import Broken
from stromboli.plan import attempt
from stromboli.plan.attempt import Hook
from tests.support.contained import AWKWARD, BUSYBOX, Bed, claude
from tests.support.images import NONROOT_UID, NUMERIC_UID
from tests.support.podman import IsolatedPodman


@pytest.fixture
def bed(podman_env: dict[str, str], tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(podman_env, tmp_path)
    yield bed
    bed.remove()


# --- images that provide as little as possible ---


@pytest.mark.parametrize("image", ["glibc_no_shell_image", "glibc_no_coreutils_image", "busybox_only_image"])
def test_no_image_has_to_bring_anything(bed: Bed, image: str, request: pytest.FixtureRequest) -> None:
    prompt = os.urandom(1024 * 1024)
    what = claude(files={"prompt": prompt}, workdir="/made/for it")
    assert bed.run(request.getfixturevalue(image), f"pwd >&2; exec {BUSYBOX} cat", what) == 0
    found = bed.records()
    assert found.stdout == prompt
    assert found.stderr_tail == "/made/for it\n"
    assert [(s.hook, s.state) for s in found.steps] == [("agent", "Succeeded")]
    assert bed.end().cause == "completed"


@pytest.mark.parametrize(("image", "uid"), [("nonroot_image", NONROOT_UID), ("numeric_user_image", NUMERIC_UID)])
def test_any_user_has_a_home_and_writes_its_record(
    bed: Bed, image: str, uid: int, request: pytest.FixtureRequest
) -> None:
    bed.install_cli('echo "$HOME"; id -u; echo x >"$HOME/x" && mkdir -p "$CLAUDE_CONFIG_DIR" && echo "$TOKEN"; pwd')
    bed.hand_over(claude(secret_env=("TOKEN",)), secrets={"TOKEN": b"secret"}, owner=(uid, uid))
    bed.create(request.getfixturevalue(image), f"--user={uid}:{uid}")
    bed.start()
    assert bed.wait() == 0, bed.records()
    home, who, token, _ = bed.records().stdout.decode().splitlines()
    assert (who, token) == (str(uid), "secret")
    assert home == ("/home/agent" if uid == NONROOT_UID else f"{naming.SESSION}/home")
    assert {p.lstat().st_uid for p in bed.out.iterdir()} == {uid}


def test_a_hook_runs_in_the_images_own_shell(bed: Bed, glibc_image: str) -> None:
    hooks = (
        Hook("onCreateCommand", 0, f"readlink /proc/$$/exe; printf '%s|' {AWKWARD.splitlines()[0]} \"$A\" 'é;🦊'"),
    )
    assert bed.run(glibc_image, 'printf "%s|" "$@" "$A"', claude(AWKWARD, "", env={"A": AWKWARD}, hooks=hooks)) == 0
    found = bed.records()
    shell, _, rest = found.steps[0].tail.partition("\n")
    assert shell in ("/usr/bin/dash", "/usr/bin/bash", "/bin/dash", "/bin/bash")
    assert rest.startswith("a|b|a b\n'c' \"d\" $HOME `id` \\ ;")
    assert found.stdout == f"{AWKWARD}||{AWKWARD}|".encode()


def test_without_a_shell_a_hook_fails_and_nothing_is_sent(bed: Bed, glibc_no_shell_image: str) -> None:
    assert bed.run(glibc_no_shell_image, "echo answer", claude(hooks=(Hook("postStart", 0, "true"),))) == 127
    assert (bed.records().sent, bed.end().cause) == (False, "failed")
    assert "/bin/sh" in bed.records().steps[0].tail


# --- at most once ---


def test_what_was_started_is_refused_by_the_same_container_and_by_another(bed: Bed, busybox_only_image: str) -> None:
    counted = "echo x >>/run/stromboli/session/count; cat /run/stromboli/session/count"
    assert bed.run(busybox_only_image, counted) == 0
    before = (bed.out / "record").read_bytes()
    bed.start()
    assert bed.wait() == attempt.ALREADY_STARTED
    bed.podman("rm", "--force", bed.name)
    bed.create(busybox_only_image)
    bed.start()
    assert bed.wait() == attempt.ALREADY_STARTED
    assert (bed.out / "record").read_bytes() == before
    assert bed.records().stdout == b"x\n"


# What a process in the container can do to its records, as root and with all of the supervisor's mounts.
REMOVES = {
    "contents": f"cd /run/stromboli/out; {BUSYBOX} find . -mindepth 1 -delete; {BUSYBOX} touch -d 2026-01-01 .",
    "everything": f"{BUSYBOX} rm -rf /run/stromboli/* /run/stromboli/out/.[a-z0-9]*",
    "the-folder-above": f"{BUSYBOX} mv /run/stromboli /run/x && {BUSYBOX} cp -a /run/x /run/stromboli",
}


@pytest.mark.parametrize("how", REMOVES)
@pytest.mark.parametrize("code", [120, 137])
def test_whatever_an_agent_removes_it_is_seen_that_its_prompt_was_sent(
    bed: Bed, busybox_only_image: str, how: str, code: int
) -> None:
    """The same container does not accept the attempt again, and the exit code is not one of the supervisor's own."""
    counted = "echo x >>/count"
    assert bed.run(busybox_only_image, f"{counted}; {REMOVES[how]}; exit {code}") == 1
    assert seals.broken(bed.out.parent) == Broken(started=True, sent=True)
    bed.start()
    assert bed.wait() == attempt.ALREADY_STARTED
    bed.hand_over(claude())
    bed.install_cli("cat /count")
    bed.start()
    assert bed.wait() == 0
    assert bed.records().stdout == b"x\n"


@pytest.mark.parametrize("how", REMOVES)
def test_a_hook_that_removes_all_it_can_is_still_before_the_prompt(bed: Bed, busybox_only_image: str, how: str) -> None:
    what = claude(hooks=(Hook("postStart", 0, f"{REMOVES[how]}; exit 120"),))
    assert bed.run(busybox_only_image, "echo sent", what) == 1
    assert seals.broken(bed.out.parent).started
    assert b"sent" not in bed.records().stdout


def test_a_cli_that_is_not_mounted_is_said_and_the_attempt_is_still_good(bed: Bed, busybox_only_image: str) -> None:
    mounted = bed.cli
    bed.cli = bed.home / "empty"
    (bed.cli / "bin").mkdir(parents=True)
    bed.hand_over(claude())
    bed.create(busybox_only_image)
    bed.start()
    assert bed.wait() == attempt.CLI_MISSING
    assert seals.broken(bed.out.parent) == Broken(started=False, sent=False)
    bed.cli = mounted
    bed.install_cli("echo answer")
    bed.folder.point("cli", bed.cli)
    bed.start()
    assert bed.wait() == 0
    assert bed.records().stdout == b"answer\n"


@pytest.fixture(scope="module")
def image_of_links(isolated_podman: IsolatedPodman, busybox_only_image: str) -> str:
    """Links to the CLI's mount point and around it; /opt itself is a link."""
    links = "mkdir -p /usr/opt /srv/a/b /srv/data && ln -s usr/opt /opt && ln -s /opt/claude/bin /srv/tools"
    links += " && ln -s /opt/claude /srv/a/b/whole && ln -s /usr/opt /srv/a/b/around"
    text = f"FROM {busybox_only_image}\nRUN {links}\n"
    name = "localhost/stromboli-test/links:1"
    isolated_podman.run("build", "--quiet", "--isolation", "chroot", "--tag", name, "-", stdin=text.encode())
    return name


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/srv/data", 0),
        ("/srv/tools", attempt.CLI_MISSING),
        ("/srv/a/b/whole", attempt.CLI_MISSING),
        ("/srv/a/b/around", attempt.CLI_MISSING),
    ],
)
def test_a_cli_that_a_volume_covers_is_not_taken_for_the_one_that_was_mounted(
    bed: Bed, image_of_links: str, tmp_path: Path, target: str, code: int
) -> None:
    """All of them have a program at the CLI's path: the volume's."""
    inside = {"/srv/tools": "claude", "/srv/a/b/around": "claude/bin/claude"}.get(target, "bin/claude")
    other = tmp_path / "other" / inside
    other.parent.mkdir(parents=True)
    other.write_text(f"#!{BUSYBOX} sh\necho replaced\n")
    other.chmod(0o755)
    assert bed.run(image_of_links, "echo genuine", claude(), "--volume", f"{tmp_path}/other:{target}") == code
    assert bed.records().stdout == (b"genuine\n" if code == 0 else b"")


def test_pointing_the_link_elsewhere_hands_over_the_next_attempt(bed: Bed, busybox_only_image: str) -> None:
    assert bed.run(busybox_only_image, 'echo "$N" >>/kept; cat /kept', claude(env={"N": "first"})) == 0
    bed.hand_over(claude(env={"N": "second"}))
    bed.start()
    assert bed.wait() == 0
    assert bed.records().stdout == b"first\nsecond\n"


# --- signals, time, children ---


@pytest.mark.parametrize("code", [0, 1, 42, 254])
def test_the_containers_exit_code_is_the_clis(bed: Bed, busybox_only_image: str, code: int) -> None:
    assert bed.run(busybox_only_image, f"exit {code}") == code
    assert (bed.end().cause, bed.end().exit_code) == ("completed" if code == 0 else "failed", code)


def test_term_is_passed_on_and_recorded(bed: Bed, busybox_only_image: str) -> None:
    bed.install_cli("trap 'echo asked to end; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    bed.hand_over(claude())
    bed.create(busybox_only_image)
    bed.start()
    bed.until("the CLI", lambda: b"ready" in bed.records().stdout)
    bed.podman("kill", "--signal=TERM", bed.name)
    assert bed.wait() == 9
    assert (bed.end().cause, bed.end().exit_code) == ("cancelled", 9)
    assert bed.records().stdout == b"ready\nasked to end\n"


def test_the_timeout_kills_a_cli_that_does_not_listen(bed: Bed, busybox_only_image: str) -> None:
    deaf = f"trap '' TERM; {BUSYBOX} setsid sleep 60 & echo begun; while :; do sleep 0.05; done"
    assert bed.run(busybox_only_image, deaf, claude(timeout=0.5, grace=0.5)) == 1
    assert (bed.end().cause, bed.end().exit_code) == ("timeout", 137)
    assert bed.records().stdout == b"begun\n"


def test_the_end_of_the_cli_is_the_end_of_all(bed: Bed, busybox_only_image: str) -> None:
    began = time.monotonic()
    hooks = (Hook("postStart", 0, f"sleep 60 & {BUSYBOX} setsid sleep 60 & echo begun"),)
    assert bed.run(busybox_only_image, f"{BUSYBOX} setsid sleep 60 & sleep 60 & echo answer", claude(hooks=hooks)) == 0
    assert time.monotonic() - began < 20
    found = bed.records()
    assert (found.stdout, found.steps[0].tail) == (b"answer\n", "begun\n")


def test_orphans_are_reaped(bed: Bed, busybox_only_image: str) -> None:
    orphans = "for n in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.05; echo >>/tmp/over) & done"
    # A zombie that is not reaped would keep the second loop running until the timeout.
    script = f"""
        while [ "$({BUSYBOX} wc -l </tmp/over)" != 10 ]; do :; done 2>/dev/null
        while {BUSYBOX} grep -qs '^[0-9]* (.*) Z' /proc/[0-9]*/stat; do :; done
        echo none
    """
    assert bed.run(busybox_only_image, script, claude(hooks=(Hook("postStart", 0, orphans),), timeout=20.0)) == 0
    assert bed.records().stdout == b"none\n"


def test_an_agent_that_kills_all_it_can_is_told_from_one_that_answers(bed: Bed, busybox_only_image: str) -> None:
    assert bed.run(busybox_only_image, "echo answer; sleep 0.1; kill -KILL -1; kill -KILL $$") == 1
    assert (bed.end().cause, bed.end().exit_code) == ("failed", 137)


def test_a_kill_for_memory_is_told_by_the_cgroup(bed: Bed, busybox_only_image: str) -> None:
    limits = ("--memory=64m", "--memory-swap=64m")
    assert bed.run(busybox_only_image, f"exec {BUSYBOX} tail /dev/zero", None, *limits) == 1
    assert (bed.end().cause, bed.end().oom) == ("failed", True)
    assert bed.records().sent


# --- output, and what an agent does with it ---


def test_a_hundred_megabytes_are_bounded_and_the_last_line_kept(bed: Bed, busybox_only_image: str) -> None:
    flood = f"{BUSYBOX} yes 'a line of some length' | {BUSYBOX} head -c 100000000; echo; echo the last line"
    assert bed.run(busybox_only_image, flood) == 0
    found = bed.records()
    assert found.stdout.endswith(b"\nthe last line\n")
    assert 5_000_000 < len(found.stdout) <= records.MAX_STDOUT
    assert sum(p.stat().st_size for p in bed.out.iterdir() if p.is_file()) <= 10 * 1024 * 1024 + 65536


def test_an_agent_can_spoil_its_own_record_only(bed: Bed, busybox_only_image: str, tmp_path: Path) -> None:
    spoil = f"""
        cd /run/stromboli/out
        {BUSYBOX} rm -rf record stdout stderr
        {BUSYBOX} mkfifo record stdout.old
        {BUSYBOX} ln -s /etc/passwd stderr
        {BUSYBOX} ln -s ../plan/prompt stderr.old
        {BUSYBOX} truncate -s 1000000000000 stdout
        echo x >../plan/prompt; {BUSYBOX} rm -f ../plan/supervisor
        echo answer
    """
    assert bed.run(busybox_only_image, spoil) == 0, "a missing record does not block the supervisor"
    found = bed.records()
    assert (found.started, found.sent, found.steps, found.end, found.stderr_tail) == (True, True, (), None, "")
    assert len(found.stdout) == records.MAX_STDOUT
    made = bed.folder.attempt(bed.uid, bed.number)
    assert (made / "plan/prompt").read_bytes() == b""
    assert (made / "plan/supervisor").exists()
    bed.folder.remove()
    assert not made.exists()


# --- secrets ---


def test_secrets_are_with_the_steps_and_nowhere_else(bed: Bed, busybox_only_image: str, tmp_path: Path) -> None:
    bed.install_cli('echo "$TOKEN"; echo ready; while :; do sleep 1; done')
    bed.hand_over(claude(secret_env=("TOKEN",)), secrets={"TOKEN": b"my-precious-token\n"})
    bed.create(busybox_only_image)
    bed.start()
    bed.folder.take_back()
    bed.until("the CLI", lambda: b"ready" in bed.records().stdout)
    assert bed.records().stdout == b"my-precious-token\n\nready\n"
    assert [p.name for p in (tmp_path / "run").rglob("*")] == ["secrets", bed.uid]
    assert "precious" not in bed.podman("inspect", bed.name)
    assert "precious" not in bed.podman("top", bed.name, "args")
    plans = [p.read_bytes() for p in (bed.folder.attempt(bed.uid, bed.number) / "plan").rglob("*") if p.is_file()]
    assert not any(b"precious" in content for content in plans)
    bed.podman("kill", "--signal=KILL", bed.name)
    assert bed.wait() == 137
    assert (bed.records().end, bed.records().sent) == (None, True)


def test_the_nodes_tmpfs_cannot_be_written_and_the_containers_own_is_small(
    bed: Bed, glibc_image: str, tmp_path: Path
) -> None:
    fill = """
        for f in /run/stromboli/handed /dev/shm/junk /dev/shm/.stromboli/.credentials.json; do
            (head -c 100000000 /dev/zero >"$f") 2>/dev/null && echo "$f has room for all of it"
        done
        (mv /run/stromboli/handed /run/x || rm -f /run/stromboli/handed) 2>/dev/null
        ls /run/stromboli
    """
    bed.install_cli(fill)
    bed.hand_over(claude(secret_env=("TOKEN",), credentials=True), secrets={"TOKEN": b"t"}, credentials=b"{}")
    before = bed.folder.secrets.joinpath("handed").stat().st_size
    bed.create(glibc_image)
    bed.podman("start", bed.name)
    bed.wait()
    assert bed.folder.secrets.joinpath("handed").stat().st_size == before
    assert [p.name for p in (tmp_path / "run").rglob("*")] == ["secrets", bed.uid, "handed"]
    assert bed.records().stdout.decode().split() == ["handed", "out", "plan", "session"]


@pytest.mark.parametrize(("image", "uid"), [("busybox_only_image", 0), ("nonroot_image", NONROOT_UID)])
def test_credentials_are_the_users_own_and_may_be_renewed(
    bed: Bed, image: str, uid: int, request: pytest.FixtureRequest
) -> None:
    bed.install_cli(
        'cd "$CLAUDE_CONFIG_DIR"; cat .credentials.json; echo new >.credentials.json && cat .credentials.json'
    )
    owner = (uid, uid) if uid else None
    bed.hand_over(claude(credentials=True), credentials=b"old\n", owner=owner)
    bed.create(request.getfixturevalue(image), f"--user={uid}:{uid}")
    bed.start()
    assert bed.wait() == 0, bed.records()
    assert bed.records().stdout == b"old\nnew\n"
    bed.hand_over(claude(credentials=True), credentials=b"again\n", owner=owner)
    bed.start()
    assert bed.wait() == 0, bed.records()
    assert bed.records().stdout.startswith(b"again\n"), "nothing of the previous run is left"


def test_the_plan_cannot_be_written(bed: Bed, busybox_only_image: str) -> None:
    assert (
        bed.run(busybox_only_image, "for f in env busybox new; do echo x >>/run/stromboli/plan/$f; done; exit 0") == 0
    )
    found = bed.folder.attempt(bed.uid, bed.number) / "plan"
    assert (found / "busybox").read_bytes() == busybox.path(bed.home).read_bytes()
    assert (found / "env").read_bytes() == b""
    assert not (found / "new").exists()
    assert stat.S_IMODE(found.stat().st_mode) == 0o755
