"""`python -m tests.benchmarks [--only NAME] [--runs N] [-o json]`: measures against goals, stores the results.

one_run.py, throughput.py, writes.py, burst.py, memory.py  one benchmark each
cancel.py                                                  how soon a canceled run is gone
resume.py, fork.py, disk.py, session_queue.py              benchmarks of sessions
compose.py, compose_session.py, compose_read.py            stacks of services
images.py                                                  what is on the node, and what is in it
agentimages.py, counted.py                                 AgentImages; the calls to Podman, counted
http_api.py                                                runs by the HTTP API, streams, calls that wait
logs.py                                                    a run's output: how soon it is seen, what reading it costs
bed.py, api.py, watch.py, baseline.py, applied.py          the test bed and the measuring tools
sessions.py, storage.py                                    the same for benchmarks of sessions
traced_operator.py, stages.py                              where the time of a run is spent
proc.py, numbers.py, result.py, report.py                  from samples to tables and files

About 25 minutes in total on 2 cores. The machine should be otherwise idle: most goals are ratios of interleaved
measurements, but memory and restart time are absolute.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable

from tests.benchmarks import (
    agentimages,
    bed,
    burst,
    cancel,
    compose,
    compose_read,
    compose_session,
    disk,
    fork,
    http_api,
    images,
    logs,
    memory,
    one_run,
    report,
    resume,
    session_queue,
    throughput,
    writes,
)
from tests.benchmarks.bed import Bed
from tests.benchmarks.result import Result

# Name → the function that measures, and the default number of rounds. Memory is last, because its runs are not deleted.
BENCHMARKS: dict[str, tuple[Callable[[Bed, int], Result], int]] = {
    "one-run-real": (lambda on, runs: one_run.measure(on, "real", runs), 20),
    "one-run-instant": (lambda on, runs: one_run.measure(on, "instant", runs), 20),
    "throughput": (throughput.measure, 5),
    "burst": (burst.one_namespace, 200),
    "burst-namespaces": (burst.ten_namespaces, 1000),
    "writes": (writes.measure, 5),
    "cancel": (cancel.measure, 10),
    "resume": (resume.measure, 20),
    "fork": (fork.measure, 3),
    "disk": (disk.measure, 20),
    "images": (images.measure, 10),
    "session-queue": (session_queue.measure, 400),
    "agentimages": (agentimages.measure, 500),
    "compose": (compose.measure, 10),
    "compose-read": (compose_read.measure, 50),
    "compose-session": (compose_session.measure, 10),
    "logs": (logs.measure, 10),
    "http": (http_api.measure, 10),
    "memory": (memory.measure, 3),
}


def main() -> None:
    """Measure, print and store the results."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is stopped
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
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measures Stromboli against its goals."
    )
    parser.add_argument(
        "--only", action="append", choices=list(BENCHMARKS), help="run only this benchmark; may be repeated"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of each benchmark")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="output format")
    return parser.parse_args()


if __name__ == "__main__":
    main()
