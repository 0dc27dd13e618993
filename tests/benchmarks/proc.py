"""CPU time and memory of a process and of the machine, from /proc (proc(5)). CPU times there are in ticks of 10 ms."""

from __future__ import annotations

from pathlib import Path

_TICK = 0.01


def cpu(pid: int) -> float:
    """CPU seconds of a process, including those of its reaped children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) * _TICK


def cpu_of_all() -> float:
    """CPU seconds of all cores since boot, excluding idle time."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) * _TICK


def megabytes(pid: int) -> tuple[float, float]:
    """Current and peak resident memory of a process in MB (10⁶ bytes)."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {words[0]: int(words[1]) for words in lines if words[0] in ("VmRSS:", "VmHWM:")}
    return kib["VmRSS:"] * 1024 / 1e6, kib["VmHWM:"] * 1024 / 1e6
