"""`HOST:PORT` in text: how an address is written in settings, and how it is printed. An IPv6 host is in brackets."""

from __future__ import annotations


def parse(text: str) -> tuple[str, int]:
    """Host and port. Raises ValueError with a sentence."""
    host, port = _split(text)
    if not host or port is None:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443")
    return host, port


def parse_listening(text: str) -> tuple[str, int]:
    """The same for an address to listen at; the host of `:PORT` is empty, and means all addresses of the machine."""
    host, port = _split(text)
    if port is None or not (host or text.startswith(":")):
        raise ValueError(f"{text!r} is neither :PORT nor HOST:PORT, such as :8080 or 127.0.0.1:8080")
    return host, port


def _split(text: str) -> tuple[str, int | None]:
    host, _, port = text.rpartition(":")
    valid = port.isascii() and port.isdigit() and int(port) <= 65535
    return host.removeprefix("[").removesuffix("]"), int(port) if valid else None


def to_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
