"""`HOST:PORT` in text: how an address is written in settings, and how it is printed. An IPv6 host is in brackets."""

from __future__ import annotations


def parse(text: str) -> tuple[str, int]:
    """Host and port. Raises ValueError with a sentence."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443")
    return host, int(port)


def to_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
