"""Four days of a real Envoy in fast motion, looked at through the dashboard's own expressions by a real Prometheus.

write    draws docs/operations.svg
         without it, a few hours are drawn, and nothing is kept: that all of it works

The API server is down for seven hours, and the signing key is replaced by a timetable. At every hour the gateway's metrics are
read as Prometheus would read them; promtool makes a database of them, with the gateway's own time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from chart import Panel, chart
from harness import installed
from harness.processes import NotReady, Supervisor, eventually
from harness.rotation import DAY, HOUR
from observed import Observed
from prometheus import SHIPPED, Prometheus

PICTURE = installed.REPOSITORY / "docs" / "operations.svg"
DOWN = range(12, 19)
HOURS = 96
ANSWER = "reissue_status"
SERIES = re.compile(r"(jwt_reissuer_\w+)\{[^}]*\} (\S+)$", re.MULTILINE)

Sample = tuple[str, dict[str, str], str]


def main(write: bool) -> int:
    hours = HOURS if write else 6
    begin = (int(time.time()) // DAY - 5) * DAY
    with tempfile.TemporaryDirectory(prefix="picture-") as directory:
        samples = lived(Path(directory), begin, hours)
        text = drawn(Path(directory), samples, begin, hours)
    if write:
        PICTURE.write_text(text)
        print(f"picture: {PICTURE.relative_to(installed.REPOSITORY)}, {hours} hours of a real Envoy")
    else:
        print(f"picture: {hours} hours of a real Envoy could be drawn")
    return 0


def lived(directory: Path, begin: int, hours: int) -> dict[int, list[Sample]]:
    """The gateway's metrics at every hour."""
    envoy = directory / "envoy"
    envoy.mkdir()
    supervisor = Supervisor(envoy)
    observed = Observed(directory, supervisor, begin)
    samples: dict[int, list[Sample]] = {}
    try:
        observed.start()
        for hour in range(hours):
            moment = begin + hour * HOUR
            down = hour in DOWN
            observed.answer(not down)
            if hour:
                observed.clock.let_pass(moment - observed.clock.now())
            status = observed.reissue()
            samples[moment] = [*told(observed, moment, down), (ANSWER, {}, str(status))]
    except NotReady:
        print(supervisor.logs(), file=sys.stderr)
        raise
    finally:
        supervisor.stop()
        observed.stop()
    return samples


def told(observed: Observed, moment: int, down: bool) -> list[Sample]:
    """What the gateway says once it has noticed what time it is."""
    fresh = ["jwt_reissuer_keyring_last_success", *([] if down else ["jwt_reissuer_jwks_last_success"])]

    def noticed() -> list[Sample] | None:
        samples = relabelled(observed.gateway.admin("/stats/prometheus").text())
        values = {name: float(value) for name, _, value in samples}
        return samples if all(values.get(name, 0) >= moment - 5 for name in fresh) else None

    return eventually("the gateway has noticed the time", noticed, 30)


def relabelled(text: str) -> list[Sample]:
    """By the rules that we ship."""
    (job,) = yaml.safe_load((SHIPPED / "prometheus.yaml").read_text())["scrape_configs"]
    samples = []
    for name, value in SERIES.findall(text):
        labels = {"__name__": name}
        for rule in job["metric_relabel_configs"]:
            (source,) = rule["source_labels"]
            if match := re.fullmatch(rule["regex"], labels[source]):
                labels[rule["target_label"]] = match.expand(rule.get("replacement", "${1}").replace("${1}", r"\1"))
        samples.append((labels.pop("__name__"), labels, value))
    return samples


def drawn(directory: Path, samples: dict[int, list[Sample]], begin: int, hours: int) -> str:
    """Prometheus has it all, and is asked what the dashboard asks."""
    lines = directory / "samples.txt"
    lines.write_text(openmetrics(samples))
    data = directory / "data"
    command = [str(installed.prometheus("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(lines), str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    server = directory / "prometheus"
    server.mkdir()
    supervisor = Supervisor(server)
    try:
        prometheus = Prometheus(supervisor, data=data).start()
        end = begin + (hours - 1) * HOUR

        def series(query: str) -> list[dict[str, Any]]:
            return prometheus.range(query, begin, end, HOUR)

        return chart(begin, end, [panel(title, series) for title in ("Age of the cluster's keys", "Our keys", "Until our keys change")] + [
            Panel("What a pod gets", "status", {"answer to POST /reissue": points(series(ANSWER)[0])}),
        ])
    finally:
        supervisor.stop()


def panel(title: str, series: Any) -> Panel:
    dashboard = json.loads((SHIPPED / "dashboard.json").read_text())
    (shown,) = [each for each in dashboard["panels"] if each["title"] == title]
    lines = {}
    for target in shown["targets"]:
        legend = re.sub(r" ?\{\{\w+\}\} ?", "", target["legendFormat"]) or title.lower()
        found = series(target["expr"])
        lines[legend] = points(found[0]) if found else []
    return Panel(title, {"s": "hours"}.get(shown["fieldConfig"]["defaults"]["unit"], "keys"), lines)


def points(series: dict[str, Any]) -> list[tuple[int, float]]:
    return [(int(moment), float(value)) for moment, value in series["values"]]


def openmetrics(samples: dict[int, list[Sample]]) -> str:
    """OpenMetrics wants the samples of one metric together."""
    by_name: dict[str, list[str]] = {}
    for moment, told in samples.items():
        for name, labels, value in told:
            text = ",".join(f'{label}="{content}"' for label, content in labels.items())
            by_name.setdefault(name, []).append(f"{name}{{{text}}} {value} {moment}")
    lines = [line for name, block in by_name.items() for line in (f"# TYPE {name} gauge", *block)]
    return "\n".join([*lines, "# EOF", ""])


if __name__ == "__main__":
    sys.path.insert(0, str(installed.REPOSITORY / "tests" / "e2e"))
    sys.exit(main(sys.argv[1:] == ["write"]))
