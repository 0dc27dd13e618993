"""Names of Linux capabilities: `NET_ADMIN`, `net_admin` and `CAP_NET_ADMIN` are the same one. Pure."""

from __future__ import annotations

from stromboli.errors import InvalidInput

ALL = "ALL"
# linux/capability.h, in its order.
NAMES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)
UPPER_CASE_RE2 = rf"^(?:CAP_)?(?:{'|'.join(NAMES)}|{ALL})$"  # of a text in upper case
MEANT = "is not a capability of Linux; write its name, such as NET_ADMIN, or ALL"
_KNOWN = frozenset({*NAMES, ALL})


def parse(text: str) -> str:
    """The name in upper case and without CAP_; `ALL` stands for all of them. Raises InvalidInput, without the text."""
    name = text.upper() if text.isascii() else text
    name = name.removeprefix("CAP_")
    if name not in _KNOWN:
        raise InvalidInput(MEANT)
    return name
