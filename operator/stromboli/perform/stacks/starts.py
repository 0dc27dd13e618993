"""Brings up the stack of a run before the run starts: as a job, while the run waits (StartingServices)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from stromboli import naming
from stromboli.attempt.given import SERVICES
from stromboli.attempt.site import Site
from stromboli.errors import ComposeProblem, Refused, ServiceFailed, Waiting
from stromboli.models.run import Run
from stromboli.node import bindfolders
from stromboli.node.jobs import Job, Jobs
from stromboli.node.pulls import digest_of
from stromboli.node.service_images import image_of
from stromboli.node.stacks import host
from stromboli.node.stacks.builds import StackBuilds
from stromboli.node.stacks.running import Seen, Told
from stromboli.node.stacks.stacks import Stacks
from stromboli.observe import hostfiles
from stromboli.perform.candidate import Ready
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.perform.stacks import told
from stromboli.perform.stacks.gates import refused
from stromboli.perform.stacks.prepared import Prepared
from stromboli.plan import redaction, services
from stromboli.plan.stack import blueprint as blueprints
from stromboli.plan.stack.blueprint import Blueprint, LookedUp, Owner
from stromboli.plan.stack.sources import Source
from stromboli.plan.verdict import Wait
from stromboli.reasons import Reason

log = logging.getLogger(__name__)

RECHECK = 30.0  # seconds; whatever changes wakes the run


class StackStarts:
    """The starts of stacks on this node. `wake` is called with the UID of a run when there is something new about the
    start that it waits for.
    """

    def __init__(
        self,
        site: Site,
        stacks: Stacks,
        builds: StackBuilds,
        reporter: Reporter,
        notifier: Notifier,
        wake: Callable[[str], None],
    ) -> None:
        self._site = site
        self._stacks = stacks
        self._builds = builds
        self._reporter = reporter
        self._notifier = notifier
        self._wake = wake
        self._users: dict[str, Run] = {}
        self._jobs: Jobs[tuple[str, str], None] = Jobs(wake)  # by the UIDs of session and run

    def under_way(self, run: str) -> Wait | None:
        """The wait for the stack that is being started for the run of this UID, if there is one."""
        jobs = (self._jobs.find(key) for key in self._jobs if key[1] == run)
        return next((_wait(job) for job in jobs if job is not None and not job.is_over), None)

    async def ensure(self, run: Run, session: str, ready: Ready) -> Blueprint | None:
        """The stack of the run's environment, which is up; None without an environment.

        Raises Waiting while it is being started, and whatever makes that fail: Refused, Waiting, Conflict, NoSpace,
        LocalFailure, PodmanError, PodmanUnavailable, ClusterUnavailable, OSError.
        """
        prepared = ready.stack
        if prepared is None:
            return None
        blueprint = await self._drawn(run, session, ready, prepared)
        self._users[session] = replace(run, spec={})
        key = (session, run.uid)
        job = self._jobs.find(key)
        started = job is not None and job.is_over
        if job is not None and job.is_over:
            self._jobs.drop(key)
            _checked(job)
            job = None
        if await self._stacks.of(session).is_up(blueprint, since_start=started):
            return blueprint
        if job is None:
            # Its node is in its status from now on, so that no other operator starts the stack as well.
            await self._reporter.at(run, run.status, Reason.StartingServices, "the services are being started")
            self._say(run, prepared)
            job = self._jobs.start(key, lambda say: self._brought_up(run.uid, session, blueprint, say))
            job.waiting.add(run.uid)
        wait = _wait(job)
        raise Waiting(wait.reason, wait.message, wait.delay)

    def tell(self, session: str, happened: Told) -> None:
        """Something happened to the stack of a session: an event of the run that uses it, or used it last."""
        said = told.notice(happened)
        if (run := self._users.get(session)) is None:
            log.info("session %s: %s", session, said.message)
            return
        self._notifier.emit(run, said.reason, said.message, key=_key(told.topic(happened)))

    def has(self, session: str) -> bool:
        """Whether something of a stack may be on the node."""
        return self._site.folder(session).has_stack

    async def break_off(self, uid: str) -> None:
        """The run or session of this UID has ended or was deleted: nothing is started for it any more."""
        for key in self._jobs:
            if uid in key:
                await self._jobs.break_off(key)
        await self._builds.leave(uid)

    async def forget(self, session: str) -> None:
        """The session, or the run without one, is over: its stack is not looked after any more."""
        await self.break_off(session)
        self._users.pop(session, None)
        await self._stacks.forget(session)

    async def close(self) -> None:
        """Break off all starts; the next operator takes them up again."""
        await self._jobs.close()
        await self._builds.close()

    async def _brought_up(self, run: str, session: str, blueprint: Blueprint, say: Callable[[str], None]) -> None:
        """The job."""
        said = ""

        def report(seen: tuple[Seen, ...]) -> None:
            nonlocal said
            if (progress := services.progress(told.entries(seen))) != said:
                said = progress
                say(progress)
                self._wake(run)

        await self._stacks.of(session).bring_up(blueprint, report)  # a stack that rests may be forgotten until then
        await self._builds.tidy(blueprint.session)

    def _say(self, run: Run, prepared: Prepared) -> None:
        for sentence in prepared.notices:
            notice = services.without_effect(sentence)
            self._notifier.emit(run, notice.reason, notice.message, key=_key(sentence))

    async def _drawn(self, run: Run, session: str, ready: Ready, prepared: Prepared) -> Blueprint:
        assert ready.stack_images is not None
        try:
            sources = await hostfiles.in_time(_made, prepared.sources)
        except ComposeProblem as problem:
            raise refused(problem) from problem
        node = await asyncio.to_thread(host.node, self._site.home)
        images = ready.stack_images
        found = LookedUp(
            images={name: image_of(one) for name, one in images.services.items()},
            named={
                name: (str(one), digest_of(images.services[name], one)) for name, one in prepared.references.items()
            },
            mounted={text: one.id for text, one in images.mounted.items()},
            sources=sources,
            secrets=await asyncio.to_thread(self._secrets, session, prepared),
        )
        labels = {**self._site.owner_labels(session), naming.RUN: f"{run.namespace}/{run.session or run.name}"}
        owner = Owner(session, labels)
        return blueprints.draw(owner, prepared.stack, prepared.selected, found, ready.judged.policy, node)

    def _secrets(self, session: str, prepared: Prepared) -> dict[str, dict[str, str]]:
        """Write the files of secrets, as the services mount them; their paths by service and target. Blocking."""
        folder = self._site.folder(session)
        if prepared.secrets:  # they are found by that, whatever happens before there is anything in Podman
            folder.note_stack()
        folder.write_given(SERVICES, redaction.of_files(prepared.secrets.values()))
        found: dict[str, dict[str, str]] = {}
        for name, service in prepared.selected.services.items():
            for secret in service.secrets:
                digest = hashlib.sha256(f"{name} {secret.target}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
                owner = None if secret.uid is None and secret.gid is None else (secret.uid or 0, secret.gid or 0)
                try:
                    path = folder.write_stack_secret(digest, prepared.secrets[secret.source], secret.mode, owner)
                except PermissionError as error:
                    if owner is None:
                        raise
                    raise refused(ComposeProblem(secret.mounted_at, _NOT_ITS_TO_GIVE)) from error
                found.setdefault(name, {})[secret.target] = str(path)
        return found


_NOT_ITS_TO_GIVE = (
    "has a uid or a gid, and an operator that is not root cannot give files to others; leave both out (every user of "
    "the service may read it then, unless mode says otherwise)"
)


def _made(sources: Mapping[str, Source]) -> dict[str, Source]:
    """Blocking. Raises ComposeProblem, OSError."""
    touching = hostfiles.toucher()
    return {at: bindfolders.made(at, source, touching) for at, source in sources.items()}


def _key(sentence: str) -> str:
    """A key for an event: the same sentence about the same run is one event."""
    return hashlib.sha256(sentence.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _wait(job: Job[None]) -> Wait:
    return Wait(Reason.StartingServices, job.progress or "the services are being started", RECHECK)


def _checked(job: Job[None]) -> None:
    try:
        job.result()
    except ServiceFailed as failure:
        said = services.failed(failure.service, failure.what, failure.output)
        raise Refused(said.reason, said.message) from failure
