"""A real Prometheus with the configuration and the rules that we ship."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

from harness import client, installed
from harness.processes import Supervisor, eventually, free_port

SHIPPED = installed.SAMPLES / "observability"


class Prometheus:
    """`scrape` is the port of an Envoy's admin page; without one it only holds what is in `data`."""

    def __init__(self, supervisor: Supervisor, *, scrape: int | None = None, data: Path | None = None):
        self._supervisor = supervisor
        self.port = free_port()
        self._data = data or supervisor.directory / "data"
        config: dict[str, Any] = yaml.safe_load((SHIPPED / "prometheus.yaml").read_text())
        config["global"] = {"evaluation_interval": "1s"}
        config["rule_files"] = [str(SHIPPED / name) for name in config["rule_files"]]
        (job,) = config["scrape_configs"]
        job["scrape_interval"] = "1s"
        job["static_configs"] = [{"targets": [f"127.0.0.1:{scrape}"]}] if scrape else []
        self._config = supervisor.directory / "prometheus.yaml"
        self._config.write_text(yaml.safe_dump(config))

    def start(self) -> "Prometheus":
        process = self._supervisor.start("prometheus", [
            str(installed.prometheus("prometheus")), f"--config.file={self._config}", f"--storage.tsdb.path={self._data}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=10y",
        ])
        process.wait_until("ready", lambda: self._get("/-/ready").status == 200, 30)
        return self

    def values(self, query: str) -> list[dict[str, Any]]:
        """The series of an expression now, each with `metric` and `value`."""
        result: list[dict[str, Any]] = self._data_of("/api/v1/query", query=query)["result"]
        return result

    def one(self, query: str) -> float:
        """The value of the one series that an expression comes to. A scrape that came too late makes it wait for the next."""
        (series,) = eventually(f"one {query}", lambda: self.values(query) or None, 30)
        return float(series["value"][1])

    def range(self, query: str, begin: int, end: int, step: int) -> list[dict[str, Any]]:
        """The series of an expression over a time, each with `metric` and `values`."""
        result: list[dict[str, Any]] = self._data_of(
            "/api/v1/query_range", query=query, start=str(begin), end=str(end), step=str(step)
        )["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        (group,) = self._data_of("/api/v1/rules")["groups"]
        return list(group["rules"])

    def _data_of(self, path: str, **parameters: str) -> Any:
        answer = self._get(f"{path}?{urllib.parse.urlencode(parameters)}")
        content = json.loads(answer.body)
        assert content["status"] == "success", content
        return content["data"]

    def _get(self, path: str) -> client.Response:
        return client.request(self.port, "GET", path, host="127.0.0.1")
