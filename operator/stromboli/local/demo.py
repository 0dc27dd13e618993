"""`make demo` after the set-up: everything up, two images, a policy, one run, and what came of it.

The order and the words are here. Parts come up by `stack`, images by `images`; the policy is `policy`'s, and
what is told of the run `account`'s.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stromboli import settings
from stromboli.controlplane.binaries import cache_folder
from stromboli.errors import LocalFailure
from stromboli.local import account, checkout, images, policy
from stromboli.local.kubectl import Kubectl
from stromboli.local.progress import Progress
from stromboli.local.stack import Stack

_EXAMPLE = "examples/hello"
_RUN, _NAMESPACE = "hello", "default"
_RUN_SECONDS = 600.0
_QUIET_SECONDS = 5.0
_LOOK_AROUND = """
Look around:
  eval "$({program} env)"
  kubectl get agentruns
  kubectl get agentrun hello -o yaml
  kubectl get agentpolicy {policy} -o yaml
  podman --remote images
  {program} status
Stop it:
  {program} down          (all is kept; `make demo` goes on from there)
  {program} down --purge  (nothing is kept)
"""
_OFFLINE = """
NOTE: this answer is not Claude's. ANTHROPIC_API_KEY is not set, so an offline stand-in of the Messages API on
this machine answered. The CLI that asked it, in the container, is the real one."""


@dataclass(slots=True)
class Demo:
    """One go at it; `run` may be called once."""

    stack: Stack
    progress: Progress
    _measured: list[account.Stage] = field(default_factory=list)

    def run(self) -> bool:
        """Whether the run succeeded. Raises LocalFailure if it did not come to an end."""
        source = policy.answers(self.stack.environ, self.stack.home.standin_socket)
        with self.stack.changing():
            self._set_up(source)
        applied = datetime.now(UTC)
        run = self._hello(self.stack.kubectl())
        self._tell(run, applied, offline=isinstance(source, policy.Offline))
        return account.succeeded(run).get("status") == "True"

    def _set_up(self, source: policy.Answers) -> None:
        with self._timed("Podman"):
            self.stack.podman_up()
        with self._timed("control plane"):
            self.stack.control_plane_up()
        with self._timed("images"):
            found = self._images()
        with self._timed("policy"):
            self._answered_by(source)
            self.stack.kubectl().apply(*policy.objects(found, source))
        with self._timed("operator"):
            self.stack.operator_up()

    def _images(self) -> policy.Images:
        """By the operator's settings, so that a CLI image or a default image named there holds here too."""
        wanted = settings.load(self.stack.environ)
        cli = wanted.cli_image if "@" in wanted.cli_image else f"{wanted.cli_image}:{wanted.cli_image_tag}"
        environ, cache = self.stack.podman.command.environ, cache_folder(self.stack.environ)
        claude = images.ensure_cli_image(environ, cli, cache, self.progress)
        self.progress.line(f"CLI image: {claude.reference} ({claude.how})")
        base = images.ensure_base_image(environ, cache, self.progress, wanted.image or images.HUB_PYTHON)
        self.progress.line(f"base image: {base.reference} ({base.how})")
        return policy.Images(claude.reference, base.reference)

    def _answered_by(self, source: policy.Answers) -> None:
        if isinstance(source, policy.Offline):
            self.stack.standin_up()
        else:
            self.stack.standin.retire()

    def _hello(self, kubectl: Kubectl) -> account.Run:
        """Apply the example anew and follow it to its end; the run as it is then."""
        kubectl("delete", "agentrun", _RUN, "--namespace", _NAMESPACE, "--ignore-not-found")
        self.progress.line(f"\n$ kubectl apply -f {_EXAMPLE}/")
        applied = kubectl("apply", "--namespace", _NAMESPACE, "-f", str(checkout.folder(_EXAMPLE)))
        self.progress.line(applied.strip())
        with closing(kubectl.follow("agentrun", _RUN, _NAMESPACE, _RUN_SECONDS)) as states:
            return self._followed(states)

    def _followed(self, states: Iterable[account.Run | None]) -> account.Run:
        began = spoke = time.monotonic()
        last = ""
        for state in states:
            text = _state(state) if state else last
            if text != last or time.monotonic() - spoke >= _QUIET_SECONDS:
                last, spoke = text, time.monotonic()
                self.progress.line(f"  {spoke - began:4.1f} s  {text or 'waiting for the operator'}")
            if state and account.finished(state):
                return state
        raise LocalFailure("the watch ended before the run did", f"see {self.stack.operator.process.log}")

    def _tell(self, run: account.Run, applied: datetime, *, offline: bool) -> None:
        say = self.progress.line
        if answer := account.answer(run):
            say("\nAnswer:\n" + "\n".join(f"  {line}" for line in answer.splitlines()))
            if offline:
                say(_OFFLINE)
        else:
            say(f"\nThere is no answer; the operator's log: {self.stack.operator.process.log}")
        say("\nConditions:\n" + "\n".join(f"  {line}" for line in account.conditions(run)))
        say("\nHow long it took:")
        say("\n".join(f"  {line}" for line in account.timing(self._measured, account.stages(run, applied))))
        say(_LOOK_AROUND.format(program=_program(), policy=policy.NAME).rstrip())

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._measured.append((what, time.monotonic() - began))


def _state(run: account.Run) -> str:
    condition = account.succeeded(run)
    return ": ".join(filter(None, (condition.get("reason", ""), condition.get("message", ""))))


def _program() -> str:
    """How the person called us, so that what is shown can be typed again."""
    return sys.argv[0] if os.path.basename(sys.argv[0]) == "stromboli" else "stromboli"
