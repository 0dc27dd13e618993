"""What a registry says about an image without a pull: a tag's digest, and for which platforms it is there.

Podman 4.3's API cannot be asked for either. Calls are those of the OCI distribution specification, to the places that
the node's registries.conf names, in its order, through the environment's proxy; certificates are checked by the
system's authorities. Nothing is pulled here, and no credentials are looked up. Whatever a registry sends is bounded,
and no message has credentials in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp

from stromboli import bounds
from stromboli.errors import RegistryError
from stromboli.grammar.reference import Reference
from stromboli.podman.registries_conf import Endpoint, RegistriesConf
from stromboli.registry_credentials import Credentials, IdentityToken, Login, basic
from stromboli.registry_problem import RegistryProblem

CONNECT = 5.0  # seconds
ANSWER = 20.0  # seconds for one call, its body included
REDIRECTS = 3
# What a registry may send. 4 MiB is the size up to which the specification wants manifests accepted.
MANIFEST = bounds.Bounds(depth=32, size=4 * 1024 * 1024, values=100_000)
TOKEN = bounds.Bounds(depth=16, size=64 * 1024, values=1_000)
# An answer larger than usual is read to its end only together with few others: whoever has a registry decides how large
# its answers are, and how many images of it are asked about at once.
USUAL = 256 * 1024
LARGE_AT_ONCE = 4
MOST_PLATFORMS = 50
LONGEST_WAIT = 3600.0  # seconds of a Retry-After: what is more is a mistake, or nobody's patience

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPT = {
    "Accept": ", ".join(
        (
            *_INDEXES,
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        )
    )
}
_OF_A_TOKEN: dict[str, Any] = {"largest": TOKEN.size, "allow_redirects": False}  # the credentials go to the realm alone
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TOKEN = re.compile(r"[\w.~+/=-]{1,16384}", re.ASCII)
_PLATFORM = re.compile(r"(?!unknown/)[a-z0-9]{1,20}/[a-z0-9]{1,20}(/[a-z0-9.]{1,20})?")  # attestations are `unknown`
_CHALLENGE = re.compile(r'(?<![a-z_])([a-z_]+)="([^"]*)"', re.IGNORECASE)  # each letter is looked at once
_PROBLEMS = {
    401: RegistryProblem.DENIED,
    403: RegistryProblem.DENIED,
    404: RegistryProblem.NOT_FOUND,
    429: RegistryProblem.RATE_LIMITED,
}
_SENTENCES = {
    RegistryProblem.DENIED: "{host} denies access to {reference}",
    RegistryProblem.NOT_FOUND: "{host} does not have {reference}",
    RegistryProblem.RATE_LIMITED: "{host} answers no more requests for now",
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """`digest` is that of the index, if there is one; `platforms` are then those of its images (`linux/arm64/v8`)."""

    digest: str
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """One response: its status, headers and body, of which only what was asked for is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    challenges: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class Registries:
    """A context manager. Every call raises RegistryError, whose `problem` says of what kind it is.

    Bound to the event loop in which it is first used.
    """

    def __init__(self) -> None:
        self._opened: aiohttp.ClientSession | None = None
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; pending calls fail."""
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER, sock_connect=CONNECT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small answer may unpack to gigabytes
            )
        return self._opened

    async def digest(self, reference: Reference, conf: RegistriesConf, credentials: Credentials | None = None) -> str:
        """The digest that the reference's tag has now in its registry, or in the first mirror that has it.

        For an index it is that of the index. Registries do not count these calls as pulls.
        """
        return (await self._first(reference, conf, credentials, whole=False)).digest

    async def manifest(
        self, reference: Reference, conf: RegistriesConf, credentials: Credentials | None = None
    ) -> Manifest:
        """The digest, and the platforms for which there is an image. It counts as a pull where those are limited."""
        return await self._first(reference, conf, credentials, whole=True)

    async def _first(
        self, reference: Reference, conf: RegistriesConf, credentials: Credentials | None, *, whole: bool
    ) -> Manifest:
        """What the first place says that knows it; what the last says is wrong, if none does."""
        if conf.blocks(reference):
            message = f"registries.conf of the node blocks {reference.registry}: nothing is asked there"
            raise RegistryError(message, RegistryProblem.DENIED)
        *mirrors, last = conf.endpoints(reference)
        for mirror in mirrors:
            with contextlib.suppress(RegistryError):
                return await self._at(mirror, reference, credentials, whole=whole)
        return await self._at(last, reference, credentials, whole=whole)

    async def _at(
        self, endpoint: Endpoint, reference: Reference, credentials: Credentials | None, *, whole: bool
    ) -> Manifest:
        asking = _Asking(self._session, self._large, endpoint, reference, credentials if endpoint.own else None)
        try:
            return await asking.manifest(whole=whole)
        except RegistryError as failure:
            failure.__context__ = None  # both keep all that was sent, for as long as somebody keeps the failure
            raise failure.with_traceback(None) from None


class _Asking:
    """One question to one place."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        large: asyncio.Semaphore,
        endpoint: Endpoint,
        reference: Reference,
        credentials: Credentials | None,
    ) -> None:
        self._session = session
        self._large = large
        self._endpoint, self._host = endpoint, endpoint.host
        self._reference = reference
        self._credentials = credentials

    async def manifest(self, *, whole: bool) -> Manifest:
        tag = self._reference.digest or self._reference.tag
        path = f"/v2/{self._endpoint.path}/manifests/{tag}"
        answer = await self._authorised("GET" if whole else "HEAD", path)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not whole and not _DIGEST.fullmatch(digest):
            answer = await self._authorised("GET", path)  # the header is optional
            whole = True
        if not whole:
            return Manifest(self._checked(digest))
        return Manifest(self._checked(self._of_the_body(answer.body)), self._platforms(answer))

    async def _authorised(self, method: str, path: str) -> _Answer:
        """The answer, if it is one about a manifest; a registry that asks who one is, is told once."""
        scheme, answer = await self._reached(method, path)
        url = f"{scheme}://{self._host}{path}"
        if answer.status == 401 and (authorization := await self._authorization(answer.challenges, scheme)):
            answer = await self._call(method, url, headers=_ACCEPT | {"Authorization": authorization})
        self._raise_for(answer)
        if answer.kind == "text/html":
            raise self._no_registry(answer)
        return answer

    async def _reached(self, method: str, path: str) -> tuple[str, _Answer]:
        """The first answer, and whether it came by https or, where that is allowed, by http."""
        try:
            return "https", await self._call(method, f"https://{self._host}{path}", headers=_ACCEPT)
        except RegistryError:
            if not self._endpoint.insecure:
                raise
        return "http", await self._call(method, f"http://{self._host}{path}", headers=_ACCEPT)

    async def _authorization(self, challenges: tuple[str, ...], scheme: str) -> str | None:
        """The header for a second try, None if there is nothing to answer the challenge with."""
        for challenge in challenges:
            kind, _, rest = challenge.partition(" ")
            if kind.lower() == "bearer":
                fields = {name.lower(): value for name, value in _CHALLENGE.findall(rest)}
                return f"Bearer {await self._token(fields.get('realm', ''), fields.get('service', ''), scheme)}"
            if kind.lower() == "basic" and isinstance(self._credentials, Login):
                return basic(self._credentials)
        return None

    async def _token(self, realm: str, service: str, scheme: str) -> str:
        """A token to read this repository with, for nobody in particular if there are no credentials."""
        if not realm.startswith("https://") and not (scheme == "http" and realm.startswith("http://")):
            message = f"{self._host} gives out its tokens at a place that is not https"
            raise RegistryError(message, RegistryProblem.NOT_A_REGISTRY)
        wanted = {"service": service, "scope": f"repository:{self._endpoint.path}:pull"}
        if isinstance(self._credentials, IdentityToken):
            form = {"grant_type": "refresh_token", "client_id": "stromboli", "refresh_token": self._credentials.token}
            answer = await self._call("POST", realm, data=wanted | form, **_OF_A_TOKEN)
        else:
            headers = {"Authorization": basic(self._credentials)} if self._credentials else {}
            answer = await self._call("GET", realm, params=wanted, headers=headers, **_OF_A_TOKEN)
        self._raise_for(answer)
        with self._reading(answer):
            said = bounds.json_document(answer.body, TOKEN)
            token = str(said.get("token") or said["access_token"])
            if not _TOKEN.fullmatch(token):
                raise ValueError
            return token

    async def _call(self, method: str, url: str, *, largest: int = MANIFEST.size, **options: Any) -> _Answer:
        """Make one call. A redirect to another host loses the Authorization header; none leads from https to http."""
        options = {"max_redirects": REDIRECTS, "ssl": not self._endpoint.insecure, "proxy": _proxy(url)} | options
        try:
            async with self._session.request(method, url, **options) as response:
                used = {each.url.scheme for each in (*response.history, response)}
                if url.startswith("https:") and used != {"https"}:
                    raise RegistryError(f"{self._host} redirects from https to http", RegistryProblem.NOT_A_REGISTRY)
                body = await self._body(response, largest)
                if response.status >= 300:  # nobody needs it, and the next call may take a while
                    body = b""
                challenges = tuple(response.headers.getall("WWW-Authenticate", ()))
                return _Answer(response.status, response.headers, body, challenges)
        except TimeoutError:
            message = f"{self._host} did not answer within {ANSWER:.0f} s"
            raise RegistryError(message, RegistryProblem.UNAVAILABLE) from None
        # ValueError: a realm or a redirect that is no URL.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RegistryError(f"{self._host} cannot be reached: {_why(error)}", RegistryProblem.UNAVAILABLE) from None

    async def _body(self, response: aiohttp.ClientResponse, largest: int) -> bytes:
        body = bytearray()
        async with contextlib.AsyncExitStack() as stack:
            async for piece in response.content.iter_any():
                if len(body) <= USUAL < len(body) + len(piece):
                    async with asyncio.timeout(ANSWER):
                        await stack.enter_async_context(self._large)
                body += piece
                if len(body) > largest:
                    message = f"{self._host} answers with more than {largest} bytes"
                    raise RegistryError(message, RegistryProblem.NOT_A_REGISTRY)
            return bytes(body)

    def _raise_for(self, answer: _Answer) -> None:
        if answer.status < 300:
            return
        problem = _PROBLEMS.get(answer.status)
        if problem is None and answer.status >= 500:
            problem = RegistryProblem.UNAVAILABLE
        if problem is None:
            raise self._no_registry(answer)
        said = _SENTENCES.get(problem, f"{{host}} answers with HTTP {answer.status}")
        message = said.format(host=self._host, reference=self._reference)
        raise RegistryError(message, problem, _retry_after(answer))

    def _no_registry(self, answer: _Answer) -> RegistryError:
        kind = answer.kind if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", answer.kind) else "nothing of a known type"
        message = f"{self._host} does not answer as a registry does: HTTP {answer.status}, {kind}"
        return RegistryError(message, RegistryProblem.NOT_A_REGISTRY)

    def _of_the_body(self, body: bytes) -> str:
        """The digest of what was sent, by the algorithm that was asked for."""
        algorithm = (self._reference.digest or "sha256").partition(":")[0]
        return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"

    def _checked(self, digest: str) -> str:
        if self._reference.digest not in (None, digest):
            message = f"{self._host} sends a manifest for {self._reference} that has the digest {digest}"
            raise RegistryError(message, RegistryProblem.DIGEST_MISMATCH)
        return digest

    def _platforms(self, answer: _Answer) -> tuple[str, ...]:
        with self._reading(answer):
            manifest = bounds.json_document(answer.body, MANIFEST)
            if answer.kind not in _INDEXES:
                manifest["schemaVersion"]  # every manifest has it
                return ()
            named = [_platform(each["platform"]) for each in manifest["manifests"] if each.get("platform")]
        return tuple(dict.fromkeys(name for name in named if _PLATFORM.fullmatch(name)))[:MOST_PLATFORMS]

    @contextlib.contextmanager
    def _reading(self, answer: _Answer) -> Iterator[None]:
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise self._no_registry(answer) from None


def _proxy(url: str) -> str | None:
    """The proxy of the environment, by the rules that Podman follows: none for this machine itself.

    aiohttp would find it too, and with it the passwords in the user's netrc.
    """
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    name = host.rpartition(":")[0] if re.search(r":[0-9]+$", host) else host
    with contextlib.suppress(ValueError):
        if ip_address(name.strip("[]")).is_loopback:
            return None
    if name == "localhost" or proxy_bypass(host):
        return None
    return getproxies().get(scheme)


def _platform(entry: Mapping[str, Any]) -> str:
    parts = (entry["os"], entry["architecture"], entry.get("variant"))
    return "/".join(str(part) for part in parts if part)


def _retry_after(answer: _Answer) -> float | None:
    """Seconds, from a number of them or from a date."""
    said = answer.headers.get("Retry-After", "").strip()
    if not said:
        return None
    try:
        seconds = float(said) if said.isdecimal() else (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):  # a date without a time zone; one of a year that is too large
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _why(error: Exception) -> str:
    """What went wrong, without the error's own text, which may repeat a URL and what is in it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not one that this system trusts"
        case aiohttp.ClientConnectorDNSError():
            return "no such host"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return type(error).__name__
