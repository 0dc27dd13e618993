"""`python -m tests.benchmarks [--only NAME] [--runs N] [-o json]`: measures against the goals, prints, keeps results.

one_run.py, throughput.py, writes.py, memory.py            a benchmark each
resume.py, fork.py, disk.py                                and of sessions
bed.py, api.py, watch.py, baseline.py, applied.py          what they measure on and with
sessions.py, storage.py                                    the same for those of sessions
traced_operator.py, stages.py                              where the time of a run goes
proc.py, numbers.py, result.py, report.py                  from samples to tables and files

About 13 minutes in all on 2 cores. Nothing else should run beside it: what counts are ratios of measurements that
take turns, but memory and restart are not ratios.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable

from tests.benchmarks import bed, disk, fork, memory, one_run, report, resume, throughput, writes
from tests.benchmarks.bed import Bed
from tests.benchmarks.result import Result

# Name → what measures it, and how many rounds it takes if nothing is said. Memory last: its runs stay.
BENCHMARKS: dict[str, tuple[Callable[[Bed, int], Result], int]] = {
    "one-run-real": (lambda on, runs: one_run.measure(on, "real", runs), 20),
    "one-run-instant": (lambda on, runs: one_run.measure(on, "instant", runs), 20),
    "throughput": (throughput.measure, 5),
    "writes": (writes.measure, 5),
    "resume": (resume.measure, 20),
    "fork": (fork.measure, 3),
    "disk": (disk.measure, 20),
    "memory": (memory.measure, 3),
}


def main() -> None:
    """Measure, print, keep."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    chosen = options.only or list(BENCHMARKS)
    when = report.circumstances()
    results = []
    with bed.made() as on:
        for name, (measure, rounds) in BENCHMARKS.items():
            if name in chosen:
                bed.say(f"--- {name}")
                results.append(measure(on, options.runs or rounds))
    found = report.keep(results, when)
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.output == "json" else report.text(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measures against the goals.")
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="this benchmark; may be repeated")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of each benchmark")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="what is printed at the end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
