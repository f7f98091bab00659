"""A real Prometheus scrapes a real Envoy: what we ship finds what it looks for, and says nothing of a healthy gateway."""

from __future__ import annotations

from harness.processes import eventually
from harness.rotation import DAY, HOUR
from observed import Observed
from prometheus import Prometheus
from test_rules import expressions, metrics


def test_every_metric_of_the_rules_and_the_dashboard_is_there(prometheus: Prometheus) -> None:
    # There is no gap between the keyrings of a healthy gateway.
    gaps = {"jwt_reissuer_keyring_withdrawn_at", "jwt_reissuer_keyring_signs_unpublished_at"}
    for name in sorted(metrics() - gaps):
        eventually(name, lambda: bool(prometheus.values(name)), 30)


def test_every_expression_is_one_and_every_rule_is_well(prometheus: Prometheus) -> None:
    for expr in expressions():
        prometheus.values(expr)
    eventually("every rule was evaluated", lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, 30)


def test_a_healthy_gateway_wakes_nobody(prometheus: Prometheus) -> None:
    eventually("every rule was evaluated", lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, 30)
    assert {rule["name"]: rule["state"] for rule in prometheus.rules() if rule.get("state", "inactive") != "inactive"} == {}


def test_issuers_and_reasons_are_labels(prometheus: Prometheus) -> None:
    assert prometheus.one('jwt_reissuer_jwks_fetched{issuer="kubernetes"}') >= 2, "one for each worker"
    assert prometheus.one('jwt_reissuer_rejected{reason="malformed"}') >= 1
    assert prometheus.values('{__name__=~"jwt_reissuer_(jwks_kubernetes|rejected_).*"}') == [], "no issuer or reason in a name"


def test_the_keys_and_when_they_change_are_told(prometheus: Prometheus, observed: Observed) -> None:
    read, until = (prometheus.one(f"jwt_reissuer_jwks_{name}") for name in ("last_success", "usable_until"))
    assert until - read == 6 * HOUR, "stale_limit"
    states = {state: prometheus.one(f"jwt_reissuer_keyring_keys_{state}") for state in ("upcoming", "next", "active", "retired")}
    assert states == {"upcoming": 1, "next": 0, "active": 1, "retired": 0}
    assert prometheus.one("jwt_reissuer_keyring_next_change") == observed.turn - DAY, "when the next key is published"
    assert prometheus.one("jwt_reissuer_keyring_published_hash") > 0


def test_a_fetch_that_fails_is_counted_by_its_cause_while_tokens_are_issued(prometheus: Prometheus, observed: Observed) -> None:
    failed = 'jwt_reissuer_jwks_failed_status{issuer="kubernetes"}'
    assert prometheus.values(failed) == []
    observed.answer(False)
    observed.let_a_fetch_be_due()
    eventually("it is counted", lambda: bool(prometheus.values(failed)), 30)
    assert observed.reissue() == 200
    observed.answer(True)


def test_a_clock_that_is_ahead_of_the_api_servers_or_behind_it_is_told(prometheus: Prometheus, observed: Observed) -> None:
    ahead, behind = (f"jwt_reissuer_jwks_clock_{way}_seconds" for way in ("ahead", "behind"))
    for difference in (3600, -3600, 0):
        observed.let_a_fetch_be_due(ahead=difference)
        # However wrong the gateway's clock is, what it read a moment ago was read a moment ago.
        eventually("the moment is put right", lambda: abs(prometheus.one("time() - jwt_reissuer:jwks_read_at")) < 30, 30)
        eventually(
            f"{difference} s are told", lambda: abs(prometheus.one(ahead) - prometheus.one(behind) - difference) <= 2, 30
        )
