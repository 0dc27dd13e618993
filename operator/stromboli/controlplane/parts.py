"""The three programs of the control plane: their names, order and exact command lines. Starts nothing.

They listen on loopback only. The reason for each flag that is not self-explanatory is beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from stromboli.controlplane import certificates as pki
from stromboli.controlplane import ports as port_names
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.certificates import Certificates
from stromboli.controlplane.ports import HOST

ETCD = "etcd"
APISERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
ORDER = (ETCD, APISERVER, CONTROLLER_MANAGER)  # the order of starting; they are stopped in reverse


@dataclass(frozen=True, slots=True)
class Part:
    """One program: its command line and the files that it reads."""

    name: str
    argv: tuple[str, ...]
    inputs: tuple[Path, ...]

    @property
    def stamp(self) -> str:
        """A hash of the command line and the input files: the process has to be restarted if it changes."""
        digest = hashlib.sha256("\0".join(self.argv).encode())
        for file in self.inputs:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Setting:
    """The inputs of the command lines."""

    binaries: Binaries
    certificates: Certificates
    ports: dict[str, int]
    data: Path  # etcd's
    kubeconfig: Path
    fsync: bool


def all_parts(setting: Setting) -> list[Part]:
    """The parts, in the order of starting."""
    return [etcd(setting), apiserver(setting), controller_manager(setting)]


def etcd(setting: Setting) -> Part:
    certificates = setting.certificates
    client = _url(setting.ports[port_names.ETCD])
    peer = _url(setting.ports[port_names.ETCD_PEER])
    ca, crt, key = (
        certificates.certificate(pki.AUTHORITY),
        certificates.certificate(pki.ETCD),
        certificates.key(pki.ETCD),
    )
    flags = {
        "data-dir": setting.data,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "client-cert-auth": "true",
        "trusted-ca-file": ca,
        "cert-file": crt,
        "key-file": key,
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": ca,
        "peer-cert-file": crt,
        "peer-key-file": key,
        "log-level": "warn",
    }
    if not setting.fsync:
        flags["unsafe-no-fsync"] = "true"  # for tests: a power failure would lose or corrupt the data
    return Part(ETCD, _argv(setting.binaries.etcd, flags), (ca, crt, key))


def apiserver(setting: Setting) -> Part:
    certificates = setting.certificates
    ca, accounts = certificates.certificate(pki.AUTHORITY), certificates.key("accounts")
    flags = {
        "bind-address": HOST,
        "secure-port": setting.ports[port_names.APISERVER],
        # Without it the server does not start on a machine without a default route (a laptop on a train).
        "advertise-address": HOST,
        # The default would write a loopback address into the Endpoints of `kubernetes`, which validation rejects.
        "endpoint-reconciler-type": "none",
        "tls-cert-file": certificates.certificate(pki.APISERVER),
        "tls-private-key-file": certificates.key(pki.APISERVER),
        "etcd-servers": _url(setting.ports[port_names.ETCD]),
        "etcd-cafile": ca,
        "etcd-certfile": certificates.certificate(pki.ETCD),
        "etcd-keyfile": certificates.key(pki.ETCD),
        "token-auth-file": certificates.tokens,
        "client-ca-file": certificates.certificate(pki.CLIENT_AUTHORITY),
        # How a server behind an APIService knows that a request comes from here, and for whom. Such servers read it
        # from kube-system/extension-apiserver-authentication.
        "requestheader-client-ca-file": certificates.certificate(pki.FRONT_PROXY_AUTHORITY),
        "requestheader-allowed-names": pki.FRONT_PROXY,
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": certificates.certificate(pki.FRONT_PROXY),
        "proxy-client-key-file": certificates.key(pki.FRONT_PROXY),
        "authorization-mode": "RBAC",
        "anonymous-auth": "false",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": accounts,
        "service-account-signing-key-file": accounts,
        "service-cluster-ip-range": "10.0.0.0/24",
        "profiling": "false",
    }
    names = (pki.APISERVER, pki.ETCD, pki.FRONT_PROXY)
    pairs = [path(name) for name in names for path in (certificates.certificate, certificates.key)]
    authorities = [certificates.certificate(name) for name in (pki.CLIENT_AUTHORITY, pki.FRONT_PROXY_AUTHORITY)]
    inputs = (ca, *authorities, *pairs, certificates.tokens, accounts)
    return Part(APISERVER, _argv(setting.binaries.apiserver, flags), inputs)


def controller_manager(setting: Setting) -> Part:
    certificates = setting.certificates
    flags = {
        "kubeconfig": setting.kubeconfig,
        # Without the first, `kubectl delete namespace` hangs; without the second, owner references have no effect;
        # the third creates each namespace's `default` service account.
        "controllers": "namespace-controller,garbage-collector-controller,serviceaccount-controller",
        "leader-elect": "false",
        # Needed only for /healthz, which is all that it serves to unauthenticated clients.
        "bind-address": HOST,
        "secure-port": setting.ports[port_names.CONTROLLER_MANAGER],
        "tls-cert-file": certificates.certificate(pki.APISERVER),
        "tls-private-key-file": certificates.key(pki.APISERVER),
        "profiling": "false",
    }
    argv = _argv(setting.binaries.controller_manager, flags)
    inputs = (setting.kubeconfig, certificates.certificate(pki.APISERVER), certificates.key(pki.APISERVER))
    return Part(CONTROLLER_MANAGER, argv, inputs)


def _url(port: int) -> str:
    return f"https://{HOST}:{port}"


def _argv(program: Path, flags: dict[str, object]) -> tuple[str, ...]:
    return (str(program), *(f"--{name}={value}" for name, value in flags.items()))
