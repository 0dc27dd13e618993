"""The checks of an operator, and their answers in the format of kube-apiserver's.

`healthz` has what a new process can cure, and nothing else: whoever supervises the operator restarts it for that.
`readyz` has all of it, and what it needs from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PATIENCE = 15.0  # seconds for which something has to be wrong before that counts

Problem = Callable[[], str | None]


class Debounced:
    """What was found the last few times, of which a short failure does not count. The first one does at once."""

    def __init__(self, unknown: str, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._problem: str | None = unknown
        self._since: float | None = None
        self._was_well = False

    def found(self, problem: str | None) -> None:
        """What was found just now; None if all is well."""
        if problem is None:
            self._was_well, self._since = True, None
        elif self._since is None:
            self._since = self._clock()
        self._problem = problem

    def problem(self) -> str | None:
        """What is wrong, as a sentence."""
        if self._problem is None or (self._was_well and self._lasts() < self._patience):
            return None
        return self._problem if self._since is None else f"{self._problem} (for {self._lasts():.0f} s)"

    def _lasts(self) -> float:
        return 0.0 if self._since is None else self._clock() - self._since


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a probe."""

    well: bool
    text: str

    @property
    def status(self) -> int:
        return 200 if self.well else 503


@dataclass(frozen=True, slots=True)
class Health:
    """The checks by name: those of `live` are a part of `ready` too."""

    live: Mapping[str, Problem]
    needed: Mapping[str, Problem]

    def healthz(self, name: str = "", *, verbose: bool = False) -> Answer | None:
        """All checks of this kind, or the one called `name`; None if there is no such check."""
        return _answer("healthz", self.live, name, verbose)

    def readyz(self, name: str = "", *, verbose: bool = False) -> Answer | None:
        """As healthz."""
        return _answer("readyz", {**self.needed, **self.live}, name, verbose)

    def problems(self) -> Sequence[str]:
        """Everything that is wrong, as `NAME: sentence`."""
        return [f"{name}: {problem}" for name, problem in self.found().items() if problem is not None]

    def found(self) -> Mapping[str, str | None]:
        """What each check finds, by its name."""
        return {name: check() for name, check in {**self.needed, **self.live}.items()}


def _answer(kind: str, checks: Mapping[str, Problem], name: str, verbose: bool) -> Answer | None:
    if name and name not in checks:
        return None
    found = {known: check() for known, check in checks.items() if name in ("", known)}
    well = all(problem is None for problem in found.values())
    if well and not verbose:
        return Answer(well, "ok\n")
    lines = [
        f"[+]{known} ok" if problem is None else f"[-]{known} failed: {problem}" for known, problem in found.items()
    ]
    return Answer(well, "\n".join([*lines, f"{kind} check {'passed' if well else 'failed'}", ""]))
