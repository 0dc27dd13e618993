"""Taking a session's turn and leaving it, and what its container, its volume and its folder go through for that.

The turn is `status.currentRun`, taken by compare-and-swap on the object's version: whoever wrote first has it. What
is known of the container (`attempt/state.py`) is judged from the records of the last attempt that it was handed to,
whoever looks first: the end of a run, the next run's start, a deletion, or an operator that comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stromboli import naming
from stromboli.attempt import folder as folders
from stromboli.attempt import records
from stromboli.attempt.folder import SessionFolder
from stromboli.attempt.site import Site
from stromboli.attempt.state import State
from stromboli.errors import LocalFailure, NotFound, PodmanError, PodmanUnavailable
from stromboli.inspection import startfiles
from stromboli.kube.client import Cluster, Conflict, Rejected
from stromboli.models.reasons import ReadyReason, Reason
from stromboli.observe import sessions
from stromboli.observe.images import is_meant, local_name
from stromboli.observe.readiness import Ready
from stromboli.observe.sessions import Held, Named, Origin
from stromboli.observe.waiting import Waiting
from stromboli.perform.cleanup import Cleaner
from stromboli.perform.copy import Copier
from stromboli.perform.notify import Notifier
from stromboli.plan import container as containers
from stromboli.plan import session as plan
from stromboli.plan.answer import Answer
from stromboli.plan.attempt import HOOKS_FILE, Conversation
from stromboli.plan.container import Shape
from stromboli.plan.redaction import UNKNOWN
from stromboli.plan.refusal import Refused
from stromboli.plan.session import Holder
from stromboli.podman.containers import ContainerState
from stromboli.podman.transport import Podman
from stromboli.status import session as states
from stromboli.status import times
from stromboli.status.run import Moment

log = logging.getLogger(__name__)
Object = dict[str, Any]


class Sessions:
    """The sessions of this node."""

    def __init__(
        self, *, cluster: Cluster, podman: Podman, site: Site, node: str, cleaner: Cleaner, notifier: Notifier
    ) -> None:
        self._cluster = cluster
        self._podman = podman
        self._site = site
        self._node = node
        self._cleaner = cleaner
        self._notifier = notifier
        self._copier = Copier(podman, site)
        self._names: dict[str, tuple[str, str]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def take(self, run: Object, named: Named, ready: Ready) -> Held:
        """Have the session for this run, made if it is not there, and everything of it ready for a start.

        May be repeated. Raises Conflict where somebody was quicker, Refused, Waiting, ClusterUnavailable, Rejected,
        NoSpace, PodmanError, PodmanUnavailable.
        """
        session = named.obj or await self._create(run, named, ready)
        session = await self._with_template(session, ready)
        session = await self._acquire(session, run, ready)
        uid = session["metadata"]["uid"]
        folder = self._site.folder(uid)
        if (parent := sessions.origin(session)) and (await asyncio.to_thread(folder.read_state)).copy is None:
            await self._copy(run, session, parent, ready)
        if parent and not session["status"].get("forkedFrom"):
            session = await self._copied(session, parent)
        if named.pinned is not None:
            await self._tell_of_a_moved_tag(run, session, ready)
        return await self._held(run, session, ready)

    def see(self, obj: Mapping[str, Any]) -> str:
        """There is such a session; its UID."""
        meta = obj["metadata"]
        self._names[meta["uid"]] = (meta["namespace"], meta["name"])
        return str(meta["uid"])

    async def find(self, uid: str) -> Object | None:
        """A session by its UID; None where there is none any more. Raises ClusterUnavailable."""
        if uid not in self._names:  # its event has not come yet
            for obj in await self._cluster.sessions():
                self.see(obj)
        found = await self._cluster.session(*self._names[uid]) if uid in self._names else None
        if found is None or found["metadata"]["uid"] != uid:
            self._locks.pop(self._names.pop(uid, ("", "")), None)
            return None
        return found

    async def leave(self, run: Object) -> None:
        """A run has ended: its session is free for the next. Raises ClusterUnavailable: then upkeep does it."""
        choice = run["spec"]["session"]
        for name in filter(None, (choice["name"], choice.get("fork"))):
            await self.vacate(run["metadata"]["namespace"], name, run["metadata"]["uid"])

    async def vacate(self, namespace: str, name: str, run_uid: str) -> None:
        """The run that has the session needs it no more: see to the container, then write it down.

        In this order, and one at a time: until it is written, no other run takes the session. Without effect where
        that run does not have it any more. What Podman cannot do now is done by whoever takes the session next.
        Raises ClusterUnavailable.
        """
        async with self._locks.setdefault((namespace, name), asyncio.Lock()):
            session = await self._cluster.session(namespace, name)
            if session is None or not _has(session, run_uid):
                return
            status = dict(session["status"])
            try:
                status |= await self._rest(session["metadata"]["uid"], status)
            except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
                log.warning("session %s: how its container is, is looked at later: %s", name, error)
            try:
                await self._cluster.write_session_status(session, states.released(status, self._moment(session)))
            except Conflict:
                log.info("session %s has changed meanwhile", name)

    async def left_by(self, run_uid: str) -> None:
        """A run is deleted: end what it has going in sessions that outlive it, and take its attempts out of them.

        Raises ClusterUnavailable, OSError.
        """
        for uid in await asyncio.to_thread(folders.sessions_of, self._site.home, run_uid) - {run_uid}:
            if (session := await self.find(uid)) is not None:
                await self.vacate(session["metadata"]["namespace"], session["metadata"]["name"], run_uid)
                for attempt in self._site.folder(uid).attempts_of(run_uid):
                    await self._cleaner.without_attempt(run_uid, attempt)

    async def costed(self, uid: str, attempt: str, answer: Answer) -> Answer:
        """An attempt's answer with its own cost: the CLI counts a conversation's, over all of its runs.

        May be repeated for an attempt.
        """
        folder = self._site.folder(uid)
        try:
            state = await asyncio.to_thread(folder.read_state)
        except LocalFailure as error:
            log.warning("the cost of attempt %s includes those before it: %s", attempt, error)
            return answer
        before = state.spent_before if state.spent_by == attempt else state.spent
        new = replace(state, spent=max(answer.cost_usd, before), spent_before=before, spent_by=attempt)
        if new != state:
            await asyncio.to_thread(folder.write_state, new)
        return replace(answer, cost_usd=max(answer.cost_usd - before, 0.0))

    # --- taking ---

    async def _create(self, run: Object, named: Named, ready: Ready) -> Object:
        notes = {}
        if named.parent is not None:
            parent = named.parent["metadata"]
            notes = {naming.FORKED_FROM: f"{parent['name']}/{parent['uid']}"}
        spec = {"template": _template(ready)}
        try:
            made = await self._cluster.create_session(run["metadata"]["namespace"], named.name, spec, notes)
        except Rejected as e:
            raise Refused(Reason.InvalidSpec, f"spec.session: the session {named.name} cannot be made: {e}") from e
        self._notifier.tell(made, "Created", f"made for the run {run['metadata']['name']}")
        return made

    async def _with_template(self, session: Object, ready: Ready) -> Object:
        spec = session.get("spec") or {}
        if spec.get("template"):
            return session
        return await self._cluster.write_session_spec(session, {**spec, "template": _template(ready)})

    async def _acquire(self, session: Object, run: Object, ready: Ready) -> Object:
        """`currentRun` is this run. Raises Conflict."""
        status, meta = session.get("status") or {}, session["metadata"]
        if _has(session, run["metadata"]["uid"]) and status.get("claudeSessionID"):
            return session
        new = states.taken(status, _as_holder(run), self._moment(session))
        new["runs"] = int(status.get("runs", 0)) + 1
        new["claudeSessionID"] = naming.conversation(meta["uid"])
        new["imageID"] = ready.image.id
        return await self._cluster.write_session_status(session, new)

    async def _copied(self, session: Object, origin: Origin) -> Object:
        """From now on the fork has what it was to have, and needs its parent no more."""
        conversation = naming.conversation(origin.uid)
        came = {"name": origin.name, "uid": origin.uid, "claudeSessionID": conversation}
        self._notifier.tell(session, "Forked", f"copied from the session {origin.name}")
        return await self._cluster.write_session_status(session, {**session["status"], "forkedFrom": came})

    async def _copy(self, run: Object, session: Object, origin: Origin, ready: Ready) -> None:
        """A fork's filesystem and conversation, out of its parent's, which nobody uses meanwhile."""
        namespace, uid = session["metadata"]["namespace"], session["metadata"]["uid"]
        parent = await self._cluster.session(namespace, origin.name)
        if parent is None or parent["metadata"]["uid"] != origin.uid:
            raise Waiting(
                Reason.WaitingForReference,
                f"the session {origin.name} was deleted before it was copied; delete the session "
                f"{session['metadata']['name']} as well, and fork another",
            )
        await sessions.await_turn(self._cluster, run, parent, origin.name)
        if not _has(parent, run["metadata"]["uid"]):
            taken = states.taken(parent.get("status") or {}, _as_holder(run), self._moment(parent))
            await self._cluster.write_session_status(parent, taken)
        labels = self._site.labels(uid, f"{namespace}/{session['metadata']['name']}")
        container, state = await self._settled(origin.uid)
        copy = ""
        if container is not None and state.container == container.id:
            if why := await self._unstartable(container):
                self._notifier.tell(
                    run,
                    "FilesNotCopied",
                    f"the container of session {origin.name} can never be started again ({why}, and Podman reads that "
                    "before a start): the fork begins with its conversation and the image's files",
                    warning=True,
                )
            else:
                copy = await self._copier.filesystem(container.name, naming.copy(uid), labels)
        if await self._podman.volumes.inspect(naming.volume(origin.uid)) is not None:
            await self._copier.volume(naming.volume(origin.uid), naming.volume(uid), ready.image.id, labels)
        whole = State(copy=copy, copy_hooks=state.hooks, begun=state.begun, spent=state.spent, spent_before=state.spent)
        await asyncio.to_thread(self._site.folder(uid).write_state, whole)
        await self.vacate(namespace, origin.name, run["metadata"]["uid"])

    async def _held(self, run: Object, session: Object, ready: Ready) -> Held:
        uid, name = session["metadata"]["uid"], session["metadata"]["name"]
        container, state = await self._settled(uid, run["metadata"]["uid"])
        if state.begun and await self._podman.volumes.inspect(naming.volume(uid)) is None:
            await self._lost_volume(session)
        came = session["status"].get("forkedFrom") or {}
        held = Held(uid, name, Conversation(session["status"]["claudeSessionID"], came.get("claudeSessionID")))
        lost = f"somebody removed the container of session {name}"
        if container is not None and state.container == container.id:
            containers.check_shape(_shape(container), ready.shape, ready.judged.policy.limits, name)
            if not (why := await self._unstartable(container)):
                return replace(held, container=container, initialized=True)
            lost = (
                f"the container of session {name} can never be started again, since a run in it has left it so: {why}, "
                "and Podman reads that before a start"
            )
        if container is not None:
            await self._podman.containers.remove(container.id)
        if state.container is not None:
            self._notifier.tell(
                run,
                "ContainerRebuilt",
                f"{lost}: it is made again, and its hooks run again",
                warning=True,
            )
            return held
        if state.copy and await self._podman.images.inspect(state.copy) is not None:
            same = state.copy_hooks == plan.hooks_hash(ready.judged.request.hooks)
            return replace(held, base=state.copy, initialized=same)
        return held

    async def _unstartable(self, container: ContainerState) -> str:
        """Why a start of a container, in which an agent was, would keep Podman waiting; empty where it would not."""
        return await startfiles.problem_in(self._podman, container.id, _shape(container).mount_points)

    async def _tell_of_a_moved_tag(self, run: Object, session: Object, ready: Ready) -> None:
        reference = ready.judged.request.image
        now = await self._podman.images.inspect(local_name(reference))
        if now is not None and is_meant(now, reference) and now.id != ready.image.id:
            self._notifier.tell(
                run,
                "ImagePinned",
                f"{reference} is another image by now; the session {session['metadata']['name']} goes on with "
                f"{ready.image.id[:12]}, with which it began",
            )

    async def _lost_volume(self, session: Object) -> None:
        name, volume = session["metadata"]["name"], naming.volume(session["metadata"]["uid"])
        message = f"the volume {volume} is gone from Podman, and with it the conversation"
        status = states.at(session["status"], ReadyReason.VolumeLost, message, self._moment(session))
        await self._cluster.write_session_status(session, status)
        self._notifier.tell(session, ReadyReason.VolumeLost, message, warning=True)
        raise Refused(
            Reason.ContainerLost,
            f"the session {name} cannot go on: {message}; delete it (kubectl delete agentsession {name}), or name "
            "another",
        )

    # --- how its container is ---

    async def _settled(self, uid: str, run_uid: str = "") -> tuple[ContainerState | None, State]:
        """The session's container, not running, and what is known of it. One that is not ours counts as none.

        Raises Waiting where it runs for `run_uid`: a start that an operator before us had asked for has come through.
        """
        container = await self._podman.containers.inspect(naming.container(uid))
        if container is None or not self._site.marks(uid).items() <= container.labels.items():
            return None, await asyncio.to_thread(self._site.folder(uid).read_state)
        if container.running:
            if run_uid and (self._site.folder(uid).handed_to() or "").startswith(f"{run_uid}-"):
                raise Waiting(Reason.Starting, "its container has come to run meanwhile", 0.5)
            await self._podman.containers.kill(container.id)
            await self._podman.containers.wait(container.id)
        elif container.status == "initialized":  # it would start with the attempt before this
            await self._podman.containers.stop(container.id)
        return container, await asyncio.to_thread(self._noted, self._site.folder(uid), container)

    def _noted(self, folder: SessionFolder, container: ContainerState) -> State:
        """What is known of the container, with what the last attempt in it has left. Blocking."""
        state, last = folder.read_state(), folder.handed_to()
        if last is None:
            return state
        found = records.read(folder.path / "attempts" / last / "out", UNKNOWN, stdout_limit=0)
        new = replace(state, begun=True) if found.sent else state
        if state.container != container.id and plan.has_initialized(found):
            hooks = (folder.path / "attempts" / last / "plan" / HOOKS_FILE).read_text(encoding="ascii")
            now = times.to_text(datetime.now(UTC))
            new = replace(new, container=container.id, hooks=hooks, at=now)
        if new != state:
            folder.write_state(new)
        return new

    async def _rest(self, uid: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """Between two runs: the container stopped, or away where its beginning has not succeeded; no secrets.

        What of that stands in the session's status.
        """
        container, state = await self._settled(uid)
        await self._cleaner.without_secrets(uid)
        if container is not None and state.container != container.id:
            await self._podman.containers.remove(container.id)
            container = None
        new: dict[str, Any] = {"containerID": container.id if container else "", "initialized": None}
        if container is not None:
            new["initialized"] = {"imageID": status.get("imageID", ""), "hooksHash": state.hooks, "at": state.at}
        new["sizeBytes"] = await self._size(uid, container, state, status.get("imageID", ""))
        return new

    async def _size(self, uid: str, container: ContainerState | None, state: State, image_id: str) -> int:
        """Disk of the container's own files, of a fork's copy, and of the volume where the operator can see it."""
        total = 0
        if container is not None:
            with contextlib.suppress(NotFound):
                total += await self._podman.containers.size(container.id)
        if state.copy:
            copied, image = await asyncio.gather(*map(self._podman.images.inspect, (state.copy, image_id)))
            total += max(copied.size - image.size, 0) if copied and image else 0
        volume = await self._podman.volumes.inspect(naming.volume(uid))
        if volume is not None:
            total += await asyncio.to_thread(_disk, Path(volume.mountpoint))
        return total

    def _moment(self, session: Object) -> Moment:
        return Moment(datetime.now(UTC), self._node, session["metadata"].get("generation", 0))


def _has(session: Mapping[str, Any], run_uid: str) -> bool:
    holder = states.holder_of(session)
    return holder is not None and holder.uid == run_uid


def _as_holder(run: Object) -> Holder:
    return Holder(run["metadata"]["name"], run["metadata"]["uid"])


def _template(ready: Ready) -> dict[str, Any]:
    request = ready.judged.request
    return plan.template_of(ready.judged.spec, str(request.image), request.memory, request.cpus)


def _shape(container: ContainerState) -> Shape:
    try:
        return Shape.from_label(container.labels[naming.SHAPE])
    except (ValueError, KeyError, TypeError) as e:
        raise Refused(Reason.PolicyViolation, f"the container {container.name} has lost its labels; remove it") from e


def _disk(folder: Path) -> int:
    """Bytes below a folder; what cannot be looked at counts nothing."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(where) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total
