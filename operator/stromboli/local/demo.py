"""`make demo`, after its set-up: starts the installation, applies one run, and reports on it.

Here: the order and the texts. `stack` starts the parts and ensures images, credentials and policy; `account` describes
the finished run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stromboli.errors import LocalFailure
from stromboli.local import account, answers, checkout, policy
from stromboli.local.answers import Answers, Offline
from stromboli.local.kubectl import Kubectl
from stromboli.local.stack import Stack
from stromboli.progress import Progress

_EXAMPLE = "examples/hello"
_RUN, _NAMESPACE = "hello", "default"
_RUN_SECONDS = 600.0
_QUIET_SECONDS = 5.0
_LOOK_AROUND = """
Look around:
  eval "$({program} env)"
  kubectl get agentruns
  kubectl get agentrun hello -o yaml
  stromboli logs hello
  stromboli run -p "Say hello once more."
  curl "$STROMBOLI_URL/run" -d '{{"prompt": "And once more."}}'
  kubectl get agentpolicy {policy} -o yaml
  podman --remote images
  stromboli status
Stop it:
  stromboli down          (everything is kept; `make demo` or `stromboli up` starts it again)
  stromboli down --purge  (everything is removed)
"""
_OFFLINE = """
NOTE: this answer is not Claude's. It comes from an offline stand-in for the Messages API on this machine; the Claude
CLI in the container is the real one. To let Claude answer, run `{program} login` with an API key, an OAuth token
(`claude setup-token` prints one) or the login of your Claude CLI."""
_CLAUDE = """
{answers}. `{program} login` takes other credentials, `{program} logout` removes them."""
_UNUSED = """
NOTE: {name} in this shell is not used, since credentials (or the stand-in) were chosen before, and that choice is kept.
`{program} login --from-env` changes it."""


@dataclass(slots=True)
class Demo:
    """One demo; call `run` only once."""

    stack: Stack
    _measured: list[account.Stage] = field(default_factory=list)

    @property
    def progress(self) -> Progress:
        return self.stack.progress

    def run(self) -> bool:
        """Returns whether the run succeeded. Raises LocalFailure if it did not end."""
        with self.stack.changing():
            chosen = self.stack.bring_up(self._timed)
        applied = datetime.now(UTC)
        run = self._hello(self.stack.kubectl())
        self._tell(run, applied, chosen)
        return account.succeeded(run).get("status") == "True"

    def _hello(self, kubectl: Kubectl) -> account.Run:
        """Delete and apply the example, and follow it to its end; returns the finished run."""
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

    def _tell(self, run: account.Run, applied: datetime, chosen: Answers) -> None:
        say = self.progress.line
        if answer := account.answer(run):
            say("\nAnswer:\n" + "\n".join(f"  {line}" for line in answer.splitlines()))
        else:
            say(
                f"\nThere is no answer. The conditions below say why; the operator's log is "
                f"{self.stack.operator.process.log}"
            )
        say(self._who(chosen))
        say("\nConditions:\n" + "\n".join(f"  {line}" for line in account.conditions(run)))
        say("\nHow long it took:")
        say("\n".join(f"  {line}" for line in account.timing(self._measured, account.stages(run, applied))))
        say(_LOOK_AROUND.format(program=_program(), policy=policy.NAME).rstrip())

    def _who(self, chosen: Answers) -> str:
        """Which API answers, and how to change that."""
        text = _OFFLINE if isinstance(chosen, Offline) else _CLAUDE
        if name := answers.unused(chosen, self.stack.environ):
            text += _UNUSED
        return text.format(answers=chosen, program=_program(), name=name)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._measured.append((what, time.monotonic() - began))


def _state(run: account.Run) -> str:
    condition = account.succeeded(run)
    return ": ".join(filter(None, (condition.get("reason", ""), condition.get("message", ""))))


def _program() -> str:
    """The path that this program was called by, so that the commands in the output can be copied."""
    return sys.argv[0] if os.path.basename(sys.argv[0]) == "stromboli" else "stromboli"
