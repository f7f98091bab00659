"""What we ship for Prometheus and Grafana, by promtool and against the page that says what to do."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from harness import installed
from picture import relabelled
from prometheus import SHIPPED

PAGE = (installed.REPOSITORY / "docs" / "operations.md").read_text()
RULES = SHIPPED / "rules.yaml"
TESTS = Path(__file__).with_name("rules_test.yaml")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(installed.prometheus("promtool")), *arguments], capture_output=True, text=True)


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for rule in group["rules"] if "alert" in rule]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SHIPPED / "dashboard.json").read_text())
    return content


def expressions() -> list[str]:
    """Of every alert and every panel, as Prometheus takes them."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    panels += [each["expr"] for each in dashboard()["annotations"]["list"]]
    return [*(alert["expr"] for alert in alerts()), *(expr.replace("$__rate_interval", "1m") for expr in panels)]


def metrics() -> set[str]:
    return {name for expr in expressions() for name in re.findall(r"jwt_reissuer_\w+", expr)}


def test_promtool_finds_the_configuration_and_the_rules_valid() -> None:
    for kind, path in (("config", SHIPPED / "prometheus.yaml"), ("rules", RULES)):
        checked = promtool("check", kind, str(path))
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_when_it_should_and_at_no_other_time() -> None:
    tested = promtool("test", "rules", str(TESTS))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_seen_silent_and_seen_firing() -> None:
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for group in yaml.safe_load(TESTS.read_text())["tests"]:
        for case in group["alert_rule_test"]:
            seen[bool(case.get("exp_alerts"))].add(case["alertname"])
    names = {alert["alert"] for alert in alerts()}
    assert seen[True] == names and seen[False] == names


def test_the_tests_of_the_rules_see_a_rule_that_is_wrong(tmp_path: Path) -> None:
    for right, wrong in (
        ("< 2 * 3600", "< 5 * 3600"), ("> 5)", "> 500)"), ("for: 10m", "for: 300m"), ('!~"not_found', '=~"not_found'),
        ("[30m]) == 0", "[30m]) >= 0"), ("< 4294967296", "< 8589934592"), ("< 2 * 1e9", "< 4 * 1e9"), ("last_success + ", "last_success - "),
        ('"issuer_keys_unavailable"}[2m]', '"issuer_keys_unavailable"}[10m]'), ("time() - 43500", "time() - 435"),
    ):
        text = RULES.read_text()
        assert right in text
        (tmp_path / "rules.yaml").write_text(text.replace(right, wrong))
        content = yaml.safe_load(TESTS.read_text()) | {"rule_files": ["rules.yaml"]}
        (tmp_path / "rules_test.yaml").write_text(yaml.safe_dump(content))
        assert promtool("test", "rules", str(tmp_path / "rules_test.yaml")).returncode != 0, wrong


def test_every_alert_has_a_section_that_says_what_to_do_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (JwtReissuer\w+)$", PAGE, re.MULTILINE)
    assert sorted(sections) == sorted(alert["alert"] for alert in alerts())
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        if section.startswith("JwtReissuer"):
            assert "**Means**" in section and "**Do**" in section, section.splitlines()[0]


def test_every_metric_that_is_watched_is_explained() -> None:
    missing = {name for name in metrics() if f"`{name}" not in PAGE}
    assert not missing


def test_the_names_of_issuers_and_reasons_become_labels_whatever_they_are_called() -> None:
    names = {
        "jwt_reissuer_jwks_prod_failed_failed": ("jwt_reissuer_jwks_failed", "prod_failed"),
        "jwt_reissuer_jwks_prod_failed_failed_timeout": ("jwt_reissuer_jwks_failed_timeout", "prod_failed"),
        "jwt_reissuer_jwks_a_keys_keys": ("jwt_reissuer_jwks_keys", "a_keys"),
        "jwt_reissuer_jwks_fetched_usable_until": ("jwt_reissuer_jwks_usable_until", "fetched"),
        "jwt_reissuer_jwks_jwt_reissuer_jwks_x_last_success": ("jwt_reissuer_jwks_last_success", "jwt_reissuer_jwks_x"),
        "jwt_reissuer_jwks_prod_failed_no_usable_key": ("jwt_reissuer_jwks_failed_no_usable_key", "prod"),
        "jwt_reissuer_jwks_missing_missing": ("jwt_reissuer_jwks_missing", "missing"),
    }
    for name, (metric, issuer) in names.items():
        assert relabelled(f"{name}{{}} 1\n") == [(metric, {"issuer": issuer}, "1")], name
    assert relabelled("jwt_reissuer_rejected_wrong_audience{} 1\n") == [("jwt_reissuer_rejected", {"reason": "wrong_audience"}, "1")]
    for gap in ("withdrawn", "signs_unpublished"):
        found = relabelled(f"jwt_reissuer_keyring_{gap}_at_key_1{{}} 1\n")
        assert found == [(f"jwt_reissuer_keyring_{gap}_at", {"kid": "key_1"}, "1")]
    assert relabelled("jwt_reissuer_issued{} 1\n") == [("jwt_reissuer_issued", {}, "1")]
