"""The CLI's own credentials under the supervisor: on tmpfs, but for what the CLI has made of them."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.support.supervised import Supervised, sh

GIVEN, RENEWED, OTHERS = (f'{{"token": "{word}"}}\n' for word in ("given-é", "renewed", "others"))
THROUGH = "printf %s {new} >{link}"
BY_RENAME = "printf %s {new} >{link}.new; mv {link}.new {link}"


@pytest.fixture
def link(box: Supervised) -> Path:
    return box.root / "session/claude/.credentials.json"


def _run(box: Supervised, script: str, credentials: str = GIVEN) -> str:
    """One run of the session, which is given these; returns what it has printed."""
    box.hand_over(credentials=credentials)
    if (box.root / "out/started").exists():
        box.hand_over_again()
    assert box.run(sh(script, credentials=bool(credentials))) == 0, box.records()
    return box.records().stdout.decode()


def test_they_are_a_link_to_tmpfs_while_it_runs_and_gone_afterwards(box: Supervised, link: Path) -> None:
    shown = _run(box, f"readlink {link}; stat -c %a $(readlink {link}); cat {link}")
    assert shown == f"{box.root}/shm/.credentials.json\n600\n{GIVEN}"
    assert not os.path.lexists(link)
    kept = [file for file in (box.root / "session").rglob("*") if file.is_file() and "given-" in file.read_text()]
    assert kept == [], "nothing of them is on the volume"


def test_those_that_a_killed_run_left_do_not_outlive_the_next(box: Supervised, link: Path) -> None:
    link.parent.mkdir()
    link.symlink_to("/nowhere")
    assert box.run(sh(f"test ! -L {link}")) == 0


@pytest.mark.parametrize("renew", [THROUGH, BY_RENAME])
def test_what_the_cli_has_renewed_stays_until_others_are_given(box: Supervised, link: Path, renew: str) -> None:
    _run(box, renew.format(link=link, new=f"'{RENEWED}'"))
    assert link.read_text() == RENEWED
    assert stat.S_IMODE(link.stat().st_mode) & 0o177 == 0 or renew is BY_RENAME
    for _ in range(2):
        assert _run(box, f"cat {link}") == RENEWED
    again = RENEWED.replace("renewed", "renewed-again")
    _run(box, renew.format(link=link, new=f"'{again}'"))
    assert _run(box, f"cat {link}") == again
    assert _run(box, f"cat {link}", OTHERS) == OTHERS
    assert not os.path.lexists(link), "what nobody has renewed is on tmpfs again"
    assert _run(box, f"cat {link}") == GIVEN


def test_what_was_renewed_survives_a_kill_of_everything(box: Supervised, link: Path, tmp_path: Path) -> None:
    box.hand_over(credentials=GIVEN)
    renew = THROUGH.format(link=link, new=f"'{RENEWED}'")
    process = box.start(sh(f"echo $$ >{tmp_path}/agent; {renew}; exec sleep 300", credentials=True))
    box.until("the renewed file in place of the link", lambda: link.is_file() and not link.is_symlink())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.kill(int((tmp_path / "agent").read_text()), signal.SIGKILL)
    assert link.read_text() == RENEWED
    assert _run(box, f"cat {link}") == RENEWED


def test_what_is_half_written_is_not_kept(box: Supervised, link: Path) -> None:
    _run(box, f"printf %s '{RENEWED[:-4]}' >{link}")
    assert not os.path.lexists(link)
    assert _run(box, f"cat {link}") == GIVEN


@pytest.mark.parametrize("emptied", ['{"claudeAiOauth":{"accessToken":"","refreshToken":""}}', '{"accessToken": ""}'])
def test_a_login_that_the_cli_has_emptied_is_not_kept(box: Supervised, link: Path, emptied: str) -> None:
    _run(box, BY_RENAME.format(link=link, new=f"'{emptied}'"))
    assert _run(box, f"cat {link}") == GIVEN


def test_without_credentials_none_stay(box: Supervised, link: Path) -> None:
    _run(box, THROUGH.format(link=link, new=f"'{RENEWED}'"))
    assert _run(box, f"cat {link} || echo none", credentials="").endswith("none\n")
    assert _run(box, f"cat {link}") == GIVEN


@pytest.mark.parametrize(
    "spoil", ["rm {0}; mkfifo {0}", "rm {0}; mkdir {0}", "echo >{0}", "rm {0}; ln -s /dev/zero {0}"]
)
def test_a_spoiled_note_of_what_was_given_leaves_what_is_given(box: Supervised, link: Path, spoil: str) -> None:
    note = box.root / "session/.credentials.given"
    _run(box, f"{THROUGH.format(link=link, new=json.dumps(RENEWED))}; {spoil.format(note)}")
    assert _run(box, f"cat {link}") == GIVEN
    assert _run(box, f"cat {link}") == GIVEN
