"""One settings file for operator and gateway: that of Stromboli's own server, as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2

from tests.support import gateways, stromboli_yaml
from tests.support.gateways import GatewayProcess, free_port, until
from tests.support.operator import OperatorProcess
from tests.support.runs import Runs, condition


def test_it_starts_both_and_each_obeys_its_part(
    new_operator: Callable[[], OperatorProcess],
    gateway: GatewayProcess,
    light_runs: Runs,
    python_image: str,
    tmp_path: Path,
) -> None:
    file, port = tmp_path / "stromboli.yaml", free_port()
    file.write_text(stromboli_yaml.TEXT.replace(f":{stromboli_yaml.PORT}", f":{port}"))
    operator = new_operator()
    operator.program = (sys.executable, "-P", "-m", "stromboli", "operator", "--config", str(file))
    before = operator.log.read_text() if operator.log.exists() else ""
    second = GatewayProcess(
        gateway.kubeconfig, "stromboli-system", gateways.free_port(), tmp_path / "gateway.log", config=file
    )
    with operator:
        second.start()
        try:
            until(lambda: _health(port) == 200, "operator and gateway are well")
            refused = light_runs.run("elsewhere", prompt="hello", image="redis:7")
            assert condition(refused)["reason"] == "ImageNotAllowed"
            assert ", ".join(stromboli_yaml.IMAGES) in condition(refused)["message"]
            allowed = light_runs.run("allowed", prompt="ECHO{ran}", image=python_image)
            assert condition(allowed)["reason"] == "Completed", condition(allowed)["message"]
        finally:
            assert second.stop() == 0
    foreign = stromboli_yaml.SECTIONS
    assert _ignored(operator.log.read_text()[len(before) :]) == [*foreign, *stromboli_yaml.OF_THE_OPERATORS]
    assert _ignored(second.log.read_text()) == [*foreign, *stromboli_yaml.OF_THE_GATEWAYS]


def _health(port: int) -> int:
    return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=20).status_code


def _ignored(log: str) -> list[str]:
    """What is said to be ignored, in order, each as often as it is said."""
    return re.findall(r"([a-z_.]+): is a setting of Stromboli's own server", log)
