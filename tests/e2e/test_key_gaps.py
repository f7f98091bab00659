"""A keyring that leaves verifiers behind is obeyed at once, and alarms; a planned rotation does not."""

from __future__ import annotations

import datetime

import pytest

from conftest import StartGateway
from harness.gateway import Gateway
from harness.oidc import SECONDS_TO_ROTATE, every_worker_publishes, every_worker_reissues, wait_until_published
from harness.pki import private_pem
from harness.processes import eventually
from harness.signing_keys import keyring, one_line, p256_key, private_entry, rsa_key, thumbprint
from harness.tokens import decode

pytestmark = pytest.mark.full


def gauge(gateway: Gateway, name: str) -> int | None:
    """A gauge as an operator finds it on the page of Envoy's statistics."""
    lines = dict(line.split(": ", 1) for line in gateway.admin("/stats?filter=jwt_reissuer").text().splitlines())
    value = lines.get(f"wasmcustom.jwt_reissuer.{name}")
    return None if value is None else int(value)


def test_a_key_replaced_by_another_is_obeyed_at_once_and_alarms_with_both_kids(
    prepare_gateway: StartGateway, subject_token: str
) -> None:
    old, new = rsa_key(), rsa_key()
    gateway = prepare_gateway(keys=one_line(private_pem(old))).start()
    assert every_worker_reissues(gateway, subject_token)
    assert [gateway.counted_so_far(name) for name in ("keyring.withdrawn", "keyring.signs_unpublished")] == [0, 0]
    before = int(datetime.datetime.now().timestamp())
    gateway.write_signing_keys(one_line(private_pem(new)))
    wait_until_published(gateway, thumbprint(new))
    assert decode(gateway.reissue(subject_token).text())[0]["kid"] == thumbprint(new)

    errors = [line for line in gateway.log().splitlines() if "[error][wasm]" in line]
    assert any(f'key kid="{thumbprint(old)}" was withdrawn, and its tokens may be valid until' in line for line in errors)
    assert any(f'key kid="{thumbprint(new)}" signs, and was published 0 s before' in line for line in errors)
    for name, kid in (("withdrawn", thumbprint(old)), ("signs_unpublished", thumbprint(new))):
        assert gateway.counted_so_far(f"keyring.{name}") > 0
        at = eventually(f"the gauge of {name}", lambda: gauge(gateway, f"keyring.{name}_at.{kid}"))
        assert before <= at <= before + SECONDS_TO_ROTATE
    assert gauge(gateway, f"keyring.withdrawn_at.{thumbprint(new)}") is None


def test_a_planned_rotation_raises_no_alarm(prepare_gateway: StartGateway, subject_token: str) -> None:
    old, new = p256_key(), p256_key()
    gateway = prepare_gateway(keys=one_line(private_pem(old))).start()
    assert every_worker_reissues(gateway, subject_token)
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    planned = keyring(private_entry(old, "ES256"), private_entry(new, "ES256", sign_at=later))
    gateway.write_signing_keys(planned)
    eventually("the new key is on its way", lambda: gauge(gateway, "keyring.keys.upcoming") == 1, SECONDS_TO_ROTATE)
    assert every_worker_publishes(gateway, thumbprint(old))
    assert [gateway.counted_so_far(name) for name in ("keyring.withdrawn", "keyring.signs_unpublished")] == [0, 0]
    assert "[error][wasm]" not in gateway.log()
