"""The local installation as a whole: its parts, and the order in which they start and stop.

    Podman → control plane with the CRDs → gateway → images, settings → credentials, policy → operator

Each part is started only if it is not running, so `up` also repairs an installation. Each part is in a module of its
own; who answers, and what the policy contains, is decided in `answers` and `policy`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stromboli import configfile, environment, files
from stromboli.controlplane import lock
from stromboli.controlplane.binaries import Binaries, cache_folder, find
from stromboli.controlplane.cluster import Cluster
from stromboli.errors import LocalFailure
from stromboli.local import aggregation, answers, checkout, doctor, images, kept, leftovers, policy, roles
from stromboli.local.aggregation import Aggregation
from stromboli.local.answers import Answers, Claude
from stromboli.local.gateway_process import Gateway
from stromboli.local.home import Home
from stromboli.local.kubectl import Kubectl
from stromboli.local.messages_process import MessagesProcess
from stromboli.local.operator_process import Operator
from stromboli.local.podman_service import PodmanService
from stromboli.naming import METRICS
from stromboli.progress import Progress

if TYPE_CHECKING:
    from stromboli.settings import Settings

API = "https://api.anthropic.com"
# What `stromboli env` puts on PATH, with kubectl: the command line, as a kubectl plugin too, and its completion there.
_PROGRAMS = {
    "stromboli": "-m stromboli",
    "kubectl-stromboli": "-c 'from stromboli.__main__ import plugin; plugin()'",
    "kubectl_complete-stromboli": "-c 'from stromboli.__main__ import complete; complete()'",
}
_LAUNCHER = """\
#!/bin/sh
# The `stromboli` that this installation was last brought up with.
exec {python} -P {program} "$@"
"""


def _untimed(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The state of one part: `pid` is None if it has no process of ours; `where` is its socket or log.

    `problem` says why it is not ready, if that is known; `url` is where programs reach it, if they do, and `metrics`
    where Prometheus does.
    """

    name: str
    pid: int | None
    ready: bool
    where: str
    problem: str = ""
    url: str = ""
    metrics: str = ""

    def as_dict(self) -> dict[str, Any]:
        found = {"pid": self.pid, "ready": self.ready, "where": self.where, "problem": self.problem}
        reached = {"url": self.url, "metrics": self.metrics}
        return {**found, **{name: where for name, where in reached.items() if where}}


@dataclass(frozen=True, slots=True)
class Stack:
    """The installation in `home`, for a shell with the environment `environ`; `config` is a file with settings."""

    home: Home
    environ: Mapping[str, str]
    progress: Progress = field(default_factory=Progress)
    config: Path | None = None

    @property
    def podman(self) -> PodmanService:
        return PodmanService(self.home, self.environ)

    @property
    def operator(self) -> Operator:
        return Operator(self.home)

    @property
    def gateway(self) -> Gateway:
        return Gateway(self.home)

    @property
    def aggregation(self) -> Aggregation:
        return Aggregation(Cluster(self.home.controlplane))

    @property
    def standin(self) -> MessagesProcess:
        return MessagesProcess(self.home, "standin", self.environ)

    @property
    def relay(self) -> MessagesProcess:
        return MessagesProcess(self.home, "relay", self.environ)

    @property
    def kubeconfig(self) -> Path:
        return Cluster(self.home.controlplane).kubeconfig

    @property
    def exists(self) -> bool:
        """Whether there is an installation."""
        return self.home.exists

    def report(self, line: str) -> None:
        self.progress.line(line)

    def fetch(self) -> Binaries:
        """The control plane's programs, downloaded or built if necessary (minutes)."""
        return find(cache_folder(self.environ), self.progress, self.environ)

    def kubectl(self) -> Kubectl:
        """kubectl for this installation's control plane. Raises LocalFailure if that was never started."""
        program = self.home.programs / "kubectl"
        if not program.exists():
            raise LocalFailure(f"{program} is missing", "`stromboli up` gets it")
        return Kubectl(program, self.kubeconfig, self.home.root / "kube-cache")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Ensure the home and hold its lock, so that only one process changes the installation at a time."""
        self.home.ensure()
        with lock.exclusive(self.home.lock, "is changing this installation", self.progress):
            yield

    def up(self) -> Answers:
        """Start whatever is not running; returns who answers. Raises LocalFailure with what to do."""
        with self.changing():
            return self.bring_up()

    def bring_up(self, timed: Callable[[str], AbstractContextManager[None]] = _untimed) -> Answers:
        """The same for a caller that is `changing` it; each step runs in the context that `timed` gives its name."""
        self._check_what_is_set()
        with timed("Podman"):
            self.podman_up()
        with timed("control plane"):
            self.control_plane_up()
            self.gateway_up()
        with timed("images"):
            self.images_up()
        with timed("credentials, policy"):
            chosen = self.answers_up()
        with timed("operator"):
            self.operator_up()
        with timed("gateway"):
            self.gateway_reached()
        return chosen

    def podman_up(self) -> None:
        service = self.podman
        service.up()
        self._running("podman", service.pid(), str(service.socket))

    def control_plane_up(self) -> None:
        """The control plane, with the CRDs and the roles for people in it, and with how it finds the gateway."""
        binaries = self.fetch()
        self._put_on_path(binaries)
        Cluster(self.home.controlplane, binaries).up(self.progress)
        kubectl = self.kubectl()
        # Both are created a moment after the API server has become ready.
        kubectl("wait", "--for=create", "namespace/kube-system", "namespace/default", "--timeout=30s")
        objects = (*aggregation.objects(self.gateway.port()), *roles.objects())
        kubectl.apply(*objects, folder=checkout.folder("crds"))
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(checkout.folder("crds")))

    def gateway_up(self) -> None:
        """Start the gateway, without waiting for it: what follows does not need it. Raises LocalFailure."""
        self._keep_what_is_set_for_the_gateway()
        if not self.gateway.ready() or not self.gateway.current():
            self.gateway.stop()
            self.gateway.start(self.kubeconfig)

    def gateway_reached(self) -> None:
        """Wait until the API server reaches the gateway. Raises LocalFailure with what is wrong."""
        self.gateway.await_ready()
        self.aggregation.await_reached(self.kubectl())
        self._running("gateway", self.gateway.pid(), str(self.gateway.process.log))
        api = self.gateway.http_api
        self.report(api.line() if (trouble := api.await_well()) is None else f"{api.line()}; {trouble}")

    def images_up(self) -> None:
        """Ensure the CLI's image and a base image, as the settings name them, and write the settings file."""
        stated = policy.stated(kept.section(self.home.settings, configfile.AGENT), self._set(configfile.AGENT))
        wanted = self._checked(stated)
        cli = wanted.cli_image if "@" in wanted.cli_image else f"{wanted.cli_image}:{wanted.cli_image_tag}"
        environ, cache = self.podman.command.environ, cache_folder(self.environ)
        claude = images.ensure_cli_image(environ, cli, cache, self.progress)
        self.report(f"CLI image: {claude.reference} ({claude.how})")
        base = images.ensure_base_image(environ, cache, self.progress, wanted.image or images.HUB_PYTHON)
        self.report(f"base image: {base.reference} ({base.how})")
        found = policy.found(policy.Images(claude.reference, base.reference))
        files.write_private(self.home.settings, policy.render({**stated, **found}).encode())

    def answers_up(self, told: Answers | None = None) -> Answers:
        """Connect agents to the API that answers: the given one, or else the one that was chosen before.

        Raises LocalFailure.
        """
        kubectl = self.kubectl()
        before = answers.kept(kubectl.get("secret", answers.SECRET, answers.NAMESPACE))
        chosen = told or answers.choose(before, self.environ)
        if told is not None:
            self.relay.stop()  # its upstream may have changed
        socket = self._messages_api(chosen)
        if kubectl.get("agentpolicy", policy.NAME) is None:
            kubectl.create(policy.created())
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": answers.NAMESPACE}}
        kubectl.apply(namespace, answers.secret(chosen), policy.following(chosen, socket))
        for messages in (self.standin, self.relay):
            if messages.wanted and messages.socket != socket:
                messages.retire()
        return chosen

    def operator_up(self) -> None:
        if not self.operator.ready() or not self.operator.current():
            self.operator.stop()
            self.operator.start(self.kubeconfig, self.podman.socket, self.environ)
        self._running("operator", self.operator.pid(), str(self.operator.process.log))

    def down(self) -> int:
        """Stop every process of the installation; returns the number of agents that continue to run.

        Once `up` starts the operator again, it reads their results.
        """
        with self.changing():
            going = self._runs_going()
            self._stop_processes()
        return going

    def purge(self) -> None:
        """Stop and remove everything: first what is in Podman, then the home.

        Raises LocalFailure if something cannot be removed, saying what; calling it again continues from there.
        """
        with self.changing():
            self._stopped("operator", self.operator.stop())
            self._remove_from_podman()
            self._stop_processes()
            if self.podman.own:
                self.podman.remove_storage()
            self.home.remove()

    def status(self) -> list[PartStatus]:
        """The state of each part, in the order of starting."""
        service, operator = self.podman, self.operator
        parts = [PartStatus("podman", service.pid(), service.answers(), str(service.socket))]
        for part in Cluster(self.home.controlplane).parts():
            parts.append(PartStatus(part.name, part.pid, part.ready, str(part.log)))
        parts.append(self._gateway_status())
        for messages in (self.standin, self.relay):
            if messages.wanted:
                parts.append(PartStatus(messages.name, messages.pid(), messages.ready(), str(messages.socket)))
        log, problem = str(operator.process.log), operator.problem() or ""
        metrics = operator.metrics() or ""
        return [*parts, PartStatus("operator", operator.pid(), operator.ready(), log, problem, metrics=metrics)]

    def _gateway_status(self) -> PartStatus:
        problem = self.gateway.problem() or self.aggregation.problem()
        pid, log = self.gateway.pid(), str(self.gateway.process.log)
        url = self.gateway.http_api.url() if pid is not None else None
        metrics = f"{url}{METRICS}" if url else ""
        return PartStatus("gateway", pid, problem is None, log, problem or "", url or "", metrics)

    def _messages_api(self, chosen: Answers) -> Path | None:
        """Start the process that agents use in place of the API, if they need one; returns its socket."""
        if not isinstance(chosen, Claude):
            self.standin.up("--log", str(self.home.logs / "standin-requests.jsonl"))
            self._running("standin", self.standin.pid(), str(self.standin.socket))
            return self.standin.socket
        network = doctor.network()
        if network.ok or not self.podman.rootless():
            return None
        self.relay.up("--to", chosen.base_url or API)
        self._running("relay", self.relay.pid(), str(self.relay.socket))
        self.report(
            f"network: none, since {network.found}. Agents reach Claude through the relay, and nothing else; "
            f"for a network: {network.hint}, then `stromboli up`"
        )
        return self.relay.socket

    def _set(self, section: str) -> dict[str, Any]:
        """What this call sets of a section: by its file, and by its environment, which wins."""
        in_file = configfile.read(self.config).section(section)
        return {**in_file, **environment.stated(self.environ, section)}

    def _check_what_is_set(self) -> None:
        """Raises InvalidSettings, before anything is started."""
        from stromboli import httpsettings, settings  # imported here, since they load a large library

        found = settings.load(self.environ, self.config), httpsettings.load(self.environ, self.config)
        for warning in dict.fromkeys(warning for each in found for warning in each.warnings):
            self.report(warning)

    def _keep_what_is_set_for_the_gateway(self) -> None:
        """Write its settings file."""
        file = self.home.gateway_settings
        sections = (configfile.SERVER, configfile.RATE_LIMIT)
        told = {section: kept.joined(kept.section(file, section), self._set(section)) for section in sections}
        files.write_private(file, kept.text(told).encode())

    def _checked(self, agent: Mapping[str, Any]) -> Settings:
        """The settings with these keys. Raises InvalidSettings, before anything is written to the settings file."""
        from stromboli import settings  # imported here, since it loads a large library

        draft = self.home.settings.with_suffix(".draft")
        files.write_private(draft, policy.render(agent).encode())
        try:
            return settings.load(self.environ, draft)
        finally:
            draft.unlink()

    def _put_on_path(self, binaries: Binaries) -> None:
        _point(self.home.programs, binaries.folder)
        _point(self.home.bin / "kubectl", self.home.programs / "kubectl")
        for name, program in _PROGRAMS.items():
            launcher = self.home.bin / name
            text = _LAUNCHER.format(python=shlex.quote(sys.executable), program=program)
            launcher.write_text(text, encoding="utf-8")
            launcher.chmod(0o700)

    def _stop_processes(self) -> None:
        self._stopped("operator", self.operator.stop())
        self._stopped("gateway", self.gateway.stop())
        for messages in (self.standin, self.relay):
            self._stopped(messages.name, messages.stop())
        self._stopped("podman", self.podman.down())
        Cluster(self.home.controlplane).down(self.progress)

    def _runs_going(self) -> int:
        uid = self._installation()
        return leftovers.running(self.podman.command, uid) if uid and self.podman.answers() else 0

    def _remove_from_podman(self) -> None:
        """Remove everything from a Podman of our own, and from another one what belongs to this installation."""
        uid = self._installation()
        if self.podman.own and not self.home.podman.is_dir():
            return
        if uid or self.podman.own:
            self.podman.up()
            everything = self.podman.own and self.podman.stores_in_home()
            if everything or uid:
                removed = leftovers.remove(self.podman.command, None if everything else uid)
                self.report(f"podman: removed {removed}")

    def _installation(self) -> str | None:
        try:
            return self.home.installation.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:  # the operator was never started, so there is nothing of it in Podman
            return None

    def _running(self, name: str, pid: int | None, where: str) -> None:
        self.report(f"{name}: running{f' (pid {pid})' if pid else ''}, {where}")

    def _stopped(self, name: str, stopped: bool) -> None:
        if stopped:
            self.report(f"{name}: stopped")


def _point(link: Path, target: Path) -> None:
    """Create the symlink, or replace it by a rename."""
    draft = link.with_name(f"{link.name}.new")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
