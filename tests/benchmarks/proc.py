"""What /proc says of a process and of the machine (proc(5)). CPU times come in hundredths of a second."""

from __future__ import annotations

from pathlib import Path

_TICK = 0.01


def cpu(pid: int) -> float:
    """Seconds of CPU of a process, with those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) * _TICK


def cpu_of_all() -> float:
    """Seconds that all cores together were busy since the machine's start."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) * _TICK


def megabytes(pid: int) -> tuple[float, float]:
    """Resident memory of a process now, and at its peak, in MB (of 10⁶ bytes)."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {words[0]: int(words[1]) for words in lines if words[0] in ("VmRSS:", "VmHWM:")}
    return kib["VmRSS:"] * 1024 / 1e6, kib["VmHWM:"] * 1024 / 1e6
