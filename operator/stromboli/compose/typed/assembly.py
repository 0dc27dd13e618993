"""A checked service → `stack.Service`: the parts put together, each with the place that it comes from."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from stromboli.compose import stack
from stromboli.compose.files import Files
from stromboli.compose.problem import Mark, quoted
from stromboli.compose.typed import mounts, process
from stromboli.compose.typed.base import Loc
from stromboli.compose.typed.environment import EnvFiles, environment
from stromboli.compose.typed.places import Marks, Places, Within
from stromboli.compose.typed.project import Project
from stromboli.compose.typed.service import Service

DEFAULT_NETWORK = "default"
_TEXTS = frozenset({"environment", "labels"})  # keys whose parts no later message is about
_DEPTH = 3


class Assembly:
    """One project's services."""

    def __init__(self, project: Project, variables: Mapping[str, str], files: Files, places: Places) -> None:
        self._project, self._variables, self._places = project, dict(variables), places
        self._files = EnvFiles(files)

    def service(self, name: str) -> stack.Service:
        """Raises ComposeProblem for what only shows when the parts are together."""
        given, at = self._project.services[name], self._places.within("services", name)
        variables = environment(given, ("services", name), self._variables, self._files, self._places)
        self._each_target_once(name, given)
        self._can_be_started(name, given, variables.values)
        return stack.Service(
            name=name,
            mark=self._places.mark("services", name),
            image=given.image or None,
            build=given.build.typed(at("build"), self._variables) if given.build else None,
            command=given.command,
            entrypoint=given.entrypoint,
            environment=variables.values,
            unset=variables.unset,
            user=given.user,
            working_dir=given.working_dir,
            hostname=given.hostname,
            container_name=given.container_name,
            labels=given.labels,
            mounts=(
                *(one.typed(at("volumes", n)) for n, one in enumerate(given.volumes)),
                *(mounts.typed_tmpfs(at("tmpfs", n), one) for n, one in enumerate(given.tmpfs)),
            ),
            secrets=tuple(self._secrets(name, given, at)),
            depends_on=tuple(
                stack.Dependency(
                    at("depends_on", other), other, stack.Condition(one.condition), one.required, one.restart
                )
                for other, one in given.depends_on.items()
            ),
            healthcheck=given.healthcheck.typed() if given.healthcheck else None,
            networks=_networks(given, at),
            network_mode=given.network_mode,
            links=tuple(
                stack.Link(at("links", n), other, alias or other) for n, (other, alias) in enumerate(given.links)
            ),
            expose=tuple(
                stack.Port(at("expose", n), each.target, each.protocol)
                for n, some in enumerate(given.expose)
                for each in some
            ),
            ports=tuple(one.typed(at("ports", n)) for n, one in enumerate(given.ports)),
            extra_hosts=tuple(
                stack.ExtraHost(at("extra_hosts", n), one.host, one.address) for n, one in enumerate(given.extra_hosts)
            ),
            profiles=given.profiles,
            init=given.init,
            read_only=given.read_only,
            privileged=given.privileged,
            cap_add=tuple(stack.Capability(at("cap_add", n), each) for n, each in enumerate(given.cap_add)),
            cap_drop=tuple(stack.Capability(at("cap_drop", n), each) for n, each in enumerate(given.cap_drop)),
            ulimits={key: stack.Ulimit(one.soft, one.hard) for key, one in given.ulimits.items()},
            limits=_limits(given),
            stop_signal=given.stop_signal,
            stop_grace_period=given.stop_grace_period,
            restart=given.restart,
            pull_policy=given.pull_policy,
            platform=given.platform,
            scale=given.copies,
            keys=Marks(functools.partial(self._keys, name, given)),
        )

    def _secrets(self, name: str, given: Service, at: Within) -> Iterator[stack.SecretMount]:
        for n, one in enumerate(given.secrets):
            declared = self._project.secrets.get(one.source)
            if declared is None or declared.file is None:
                what = f"the secret {one.source} is not declared; add it to the top-level secrets"
                raise self._places.problem(("services", name, "secrets", n, "source"), what)
            yield one.typed(self._places.at(*_file(one.source)), at("secrets", n), declared.file)

    def _each_target_once(self, name: str, given: Service) -> None:
        seen: dict[str, Loc] = {}
        targets = (
            *(("volumes", n, one.target) for n, one in enumerate(given.volumes)),
            *(("tmpfs", n, one.target) for n, one in enumerate(given.tmpfs)),
            *(("secrets", n, one.path) for n, one in enumerate(given.secrets)),
        )
        for key, n, target in targets:
            at = ("services", name, key, n)
            if (other := seen.setdefault(target, at)) != at:
                by = self._places.at(*other)
                what = f"{target} is mounted there already, by {by}; choose another target for one of them"
                raise self._places.problem(at, what)

    def _can_be_started(self, name: str, given: Service, variables: Mapping[str, str]) -> None:
        if (long := process.too_long(variables)) is not None:
            key = "environment" if long in given.environment else "env_file"
            what = f"{quoted(long)} is longer than a variable can be ({process.MAX_STRING} bytes); put it into a file"
            raise self._places.problem(("services", name, key), what)
        if not process.fits((*(given.entrypoint or ()), *(given.command or ())), variables):
            what = (
                f"its command and variables have more than {process.MAX_TOTAL} bytes together, with which no process "
                "can be started; put what is long into files"
            )
            raise self._places.problem(("services", name), what)

    def _keys(self, name: str, given: Service) -> Iterator[tuple[str, Mark]]:
        yield self._places.at("services", name), self._places.mark("services", name)
        for key in given.model_fields_set:
            yield from self._places.below(("services", name, key), 0 if key in _TEXTS else _DEPTH)
        for secret in given.secrets:
            yield self._places.at(*_file(secret.source)), self._places.mark(*_file(secret.source))


def _networks(given: Service, at: Within) -> dict[str, stack.Attachment]:
    if given.network_mode is not None:
        return {}
    if not given.networks:
        return {DEFAULT_NETWORK: stack.Attachment(at())}
    return {network: stack.Attachment(at("networks", network), one.aliases) for network, one in given.networks.items()}


def _file(secret: str) -> Loc:
    return ("secrets", secret, "file")


def _limits(given: Service) -> stack.Limits:
    bounds = given.deploy.resources.limits
    return stack.Limits(
        memory=given.memory,
        memory_reservation=given.memory_reservation,
        memory_swap=given.memswap_limit,
        cpus=given.cpus if given.cpus is not None else bounds.cpus,
        pids=given.pids_limit if given.pids_limit is not None else bounds.pids,
        shm_size=given.shm_size,
    )
