"""Our own keys, in every form and by every way that an operator can give them."""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import StartGateway
from expected import KEYS_REFUSED, REJECTED
from harness import installed
from harness.client import Response
from harness.gateway import Gateway, replace
from harness.kubernetes import ISSUER, ApiServer
from harness.oidc import (
    CONNECTIONS_TO_MEET_EVERY_WORKER, SECONDS_TO_ROTATE, discover, verified_by_keys, wait_until_published,
)
from harness.pki import PrivateKey, private_pem
from harness.processes import eventually
from harness.signing_keys import (
    SEALED, der, keyring, one_line, openssl_pem, p256_key, private_entry, public_entry, rsa_key, thumbprint,
)
from harness.tokens import decode

pytestmark = pytest.mark.full

AWS = "sts.amazonaws.com"
SECONDS_IN_WHICH_NOTHING_COMES = 5
SEALING_KEY = base64.b64encode(bytes(range(32))).decode()
FORMS: dict[str, Callable[[PrivateKey], str]] = {
    "base64 of a PKCS#8 PEM": lambda key: one_line(private_pem(key)),
    "base64 of a PKCS#1 PEM": lambda key: one_line(openssl_pem(key)),  # type: ignore[arg-type]
    "base64 of PKCS#8 DER": lambda key: one_line(der(key)),
    "a keyring on one line": lambda key: keyring(private_entry(key, "RS256")),
    "base64 of a keyring": lambda key: one_line(keyring(private_entry(key, "RS256")).encode()),
}


def issues_with(gateway: Gateway, subject_token: str, key: PrivateKey, algorithm: str = "RS256") -> str:
    """Asserts that tokens are signed by `key` and verify with what is published; returns one."""
    answer = gateway.reissue(subject_token)
    assert answer.status == 200, answer
    token = answer.text()
    metadata, jwks = discover(gateway)
    header = decode(token)[0]
    assert (header["alg"], header["kid"]) == (algorithm, thumbprint(key))
    verified_by_keys(token, jwks, metadata["issuer"], AWS)
    return token


@pytest.mark.parametrize("form", FORMS)
def test_a_key_by_sds_signs(prepare_gateway: StartGateway, subject_token: str, form: str) -> None:
    key = rsa_key()
    gateway = prepare_gateway(keys=FORMS[form](key))
    gateway.use_plain_signing_keys()
    issues_with(gateway.start(), subject_token, key)


def test_a_sealing_key_is_replaced_with_both_in_the_environment(prepare_gateway: StartGateway, subject_token: str) -> None:
    old, new = rsa_key(), rsa_key()
    gateway = prepare_gateway(keys=one_line(private_pem(old)))
    other = base64.b64encode(os.urandom(32)).decode()
    gateway.environment["REISSUER_SEALING_KEY"] = f"{other} {gateway.environment['REISSUER_SEALING_KEY']}"
    issues_with(gateway.start(), subject_token, old)
    gateway.seal_by("REISSUER_SEALING_KEY", other)
    gateway.write_signing_keys(one_line(private_pem(new)))
    wait_until_published(gateway, thumbprint(new))


def test_a_keyring_that_is_not_sealed_or_by_another_key_leaves_the_one_in_use(
    prepare_gateway: StartGateway, subject_token: str
) -> None:
    key = rsa_key()
    gateway = prepare_gateway(keys=one_line(private_pem(key))).start()
    issues_with(gateway, subject_token, key)
    plain = gateway.directory / "keys" / "signing-keys"
    replace(plain, one_line(private_pem(rsa_key())))
    eventually("it is refused", lambda: "not sealed, and with a sealing key" in gateway.log(), SECONDS_TO_ROTATE)
    gateway.sealing_key = os.urandom(32)
    gateway.write_signing_keys(one_line(private_pem(rsa_key())))
    eventually("it is refused", lambda: "sealed with another key, or changed since" in gateway.log(), SECONDS_TO_ROTATE)
    issues_with(gateway, subject_token, key)


def test_a_key_by_sds_shows_in_no_dump_and_in_no_log(prepare_gateway: StartGateway, subject_token: str) -> None:
    key = rsa_key()
    line = one_line(private_pem(key))
    gateway = prepare_gateway(keys=line).start()
    issues_with(gateway, subject_token, key)
    secrets = {line, one_line(der(key)), line[100:200], one_line(der(key))[100:200]}
    for page in ("/config_dump?include_eds", "/config_dump", "/stats", "/clusters", "/listeners", "/certs"):
        content = gateway.admin(page).text()
        assert not [secret for secret in secrets if secret in content], page
    assert not [secret for secret in secrets if secret in gateway.log()]


def test_a_replaced_key_is_in_use_without_a_restart(prepare_gateway: StartGateway, subject_token: str) -> None:
    old, new = rsa_key(), rsa_key()
    gateway = prepare_gateway(keys=one_line(private_pem(old))).start()
    issues_with(gateway, subject_token, old)
    gateway.write_signing_keys(one_line(private_pem(new)))
    wait_until_published(gateway, thumbprint(new))
    kids = {decode(gateway.reissue(subject_token).text())[0]["kid"] for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)}
    assert kids == {thumbprint(new)}
    issues_with(gateway, subject_token, new)


def test_a_broken_replacement_leaves_the_key_in_use(prepare_gateway: StartGateway, subject_token: str) -> None:
    key = rsa_key()
    gateway = prepare_gateway(keys=one_line(private_pem(key))).start()
    issues_with(gateway, subject_token, key)
    gateway.write_signing_keys("bm90IGEga2V5")
    eventually("a word in the log", lambda: KEYS_REFUSED["no key at all"] in gateway.log(), SECONDS_TO_ROTATE)
    issues_with(gateway, subject_token, key)


def test_a_key_from_the_environment_signs(prepare_gateway: StartGateway, subject_token: str) -> None:
    key = rsa_key()
    gateway = prepare_gateway()
    gateway.use_host_environment(one_line(private_pem(key)))
    gateway.start()
    issues_with(gateway, subject_token, key)
    assert one_line(private_pem(key)) not in gateway.admin("/config_dump").text()


@pytest.mark.parametrize("form", ["PEM", "keyring"])
def test_an_inline_key_signs(prepare_gateway: StartGateway, subject_token: str, form: str) -> None:
    key = rsa_key()
    inline = private_pem(key).decode() if form == "PEM" else json.loads(keyring(private_entry(key, "RS256")))
    gateway = prepare_gateway()
    gateway.use_plain_signing_keys()
    gateway.config["signing_keys"]["from"] = {"dangerous_inline": inline}
    gateway.remove_signing_key_cluster()
    gateway.start()
    issues_with(gateway, subject_token, key)


@pytest.mark.parametrize("form", ["PEM", "keyring"])
def test_an_elliptic_key_signs_es256(prepare_gateway: StartGateway, subject_token: str, form: str) -> None:
    key = p256_key()
    line = one_line(private_pem(key)) if form == "PEM" else keyring(private_entry(key, "ES256"))
    gateway = prepare_gateway(keys=line).start()
    issues_with(gateway, subject_token, key, "ES256")
    metadata, jwks = discover(gateway)
    assert metadata["id_token_signing_alg_values_supported"] == ["ES256"]
    (published,) = jwks["keys"]
    assert set(published) == {"kty", "use", "alg", "kid", "crv", "x", "y"}


def test_a_key_that_only_verifies_is_published_and_never_signs(prepare_gateway: StartGateway, subject_token: str) -> None:
    signing, retired = rsa_key(), rsa_key()
    ring = keyring(private_entry(signing, "RS256"), public_entry(retired, "RS256", kid="key-1"))
    gateway = prepare_gateway(keys=ring).start()
    issues_with(gateway, subject_token, signing)
    _, jwks = discover(gateway)
    assert {key["kid"] for key in jwks["keys"]} == {thumbprint(signing), "key-1"}


def test_a_configured_kid_is_used(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway(keys=keyring(private_entry(rsa_key(), "RS256", kid="2031-q1"))).start()
    assert decode(gateway.reissue(subject_token).text())[0]["kid"] == "2031-q1"


WEAK = {"RSA of 1024 bits": lambda: one_line(private_pem(rsa_key(1024))), "no key at all": lambda: "bm90IGEga2V5"}


@pytest.mark.parametrize("name", WEAK)
def test_a_key_that_is_not_fit_to_sign_is_refused_and_the_log_says_why(
    prepare_gateway: StartGateway, subject_token: str, name: str
) -> None:
    gateway = prepare_gateway(keys=WEAK[name]()).start()

    def answer_of(path: str) -> Response:
        return gateway.reissue(subject_token) if path == "/reissue" else gateway.request("GET", path)

    for path in ("/reissue", "/openid/v1/jwks", "/.well-known/openid-configuration"):
        answer = answer_of(path)
        assert answer.status == 503, (path, answer)
        assert int(answer.header("retry-after") or 0) >= 1
    eventually("counted", lambda: gateway.counter(f"rejected.{REJECTED['no keys of ours']}") >= 1)
    eventually("the reason is logged", lambda: KEYS_REFUSED[name] in gateway.log())


def test_documents_alone_need_no_private_key(prepare_gateway: StartGateway, subject_token: str) -> None:
    key = rsa_key()
    gateway = prepare_gateway(keys=keyring(public_entry(key, "RS256")))
    gateway.config["serve"] = ["documents"]
    del gateway.config["audiences"], gateway.config["trusted_issuers"]
    gateway.start()
    _, jwks = discover(gateway)
    assert [each["kid"] for each in jwks["keys"]] == [thumbprint(key)]
    for path in ("/reissue", "/token"):
        assert gateway.reissue(subject_token, path).status == 404


def test_tokens_alone_serve_no_documents(prepare_gateway: StartGateway, subject_token: str) -> None:
    gateway = prepare_gateway()
    gateway.config["serve"] = ["tokens"]
    gateway.start()
    assert gateway.reissue(subject_token).status == 200
    for path in ("/openid/v1/jwks", "/.well-known/openid-configuration"):
        assert gateway.request("GET", path).status == 404


@pytest.mark.parametrize("way", ["as shipped", "with the gateway's token"])
def test_a_healthy_gateway_reports_no_failure(
    prepare_gateway: StartGateway, cluster: ApiServer, subject_token: str, way: str
) -> None:
    """What the README tells operators to watch has to stand still: Envoy's main thread, which serves nobody, reaches nothing."""
    gateway = prepare_gateway()
    if way == "with the gateway's token":
        pod = cluster.create_pod("infra", "gateway", "gateway-0")
        gateway.read_jwks_with_token(cluster.token("infra", "gateway", [ISSUER], pod=pod))
    gateway.start()
    eventually("every worker has keys", lambda: all(
        gateway.reissue(subject_token).status == 200 for _ in range(CONNECTIONS_TO_MEET_EVERY_WORKER)
    ))
    watched = ("keyring.failed", "jwks.kubernetes.failed")
    looked = gateway.counted_so_far("keyring.unchanged")
    before = [gateway.counter(name) for name in watched]
    # Both workers have looked twice more: five seconds lie between, and the main thread looks as often.
    eventually("the keys looked for again", lambda: gateway.counter("keyring.unchanged") >= looked + 4, 30)
    assert [gateway.counted_so_far(name) for name in watched] == before
    assert not [line for line in gateway.log().splitlines() if "[error]" in line and "wasm" in line]


def line_of_the_sample() -> str:
    (line,) = re.findall(r"^# +(jwt-reissuer keys new .*)$", (installed.SAMPLES / "envoy.yaml").read_text(), re.MULTILINE)
    return line


def line_of_the_readme_for_a_pem() -> str:
    (line,) = re.findall(r"`(make -s seal < key.pem > signing-keys)`", (installed.REPOSITORY / "README.md").read_text())
    return f"openssl genrsa 2048 > key.pem; {line}"


@pytest.mark.parametrize("command_line", [line_of_the_sample, line_of_the_readme_for_a_pem])
def test_a_line_that_operators_copy_makes_a_sealed_keyring(
    prepare_gateway: StartGateway, subject_token: str, tmp_path: Path, command_line: Callable[[], str]
) -> None:
    line = command_line()
    # A reader stands in the project's directory; the files of this test do not belong there.
    (tmp_path / "make").write_text(f'#!/bin/sh\nexec "{shutil.which("make")}" --directory "{installed.REPOSITORY}" "$@"\n')
    (tmp_path / "make").chmod(0o755)
    path = f"{tmp_path}:{installed.cli().parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "REISSUER_SEALING_KEY": SEALING_KEY}
    command = ["bash", "-euo", "pipefail", "-c", line]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    sealed = (tmp_path / "signing-keys").read_text()
    assert sealed.startswith(SEALED)
    assert sealed == sealed.strip(), "an Envoy before 1.40 takes a line break for a part of it"
    gateway = prepare_gateway(keys=sealed)
    gateway.seal_by("REISSUER_SEALING_KEY", SEALING_KEY)
    gateway.start()
    answer = gateway.reissue(subject_token)
    assert answer.status == 200, answer
    metadata, jwks = discover(gateway)
    verified_by_keys(answer.text(), jwks, metadata["issuer"], AWS)


def test_a_key_that_is_out_is_taken_out_and_verifies_nothing_any_more(prepare_gateway: StartGateway, subject_token: str) -> None:
    """Though a timetable would have published it for days: what the secret holds now is all that counts."""
    leaked, new = rsa_key(), rsa_key()
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    gateway = prepare_gateway(keys=keyring(private_entry(leaked, "RS256"), private_entry(new, "RS256", sign_at=soon))).start()
    token = issues_with(gateway, subject_token, leaked)
    before = gateway.request("GET", "/openid/v1/jwks")
    gateway.write_signing_keys(one_line(private_pem(new)))
    wait_until_published(gateway, thumbprint(new))
    metadata, jwks = discover(gateway)
    with pytest.raises(KeyError):
        verified_by_keys(token, jwks, metadata["issuer"], AWS)
    # Whoever keeps the old document and asks whether it is still the one is told that it is not.
    again = gateway.request("GET", "/openid/v1/jwks", headers=[("If-None-Match", str(before.header("etag")))])
    assert again.status == 200 and again.header("etag") != before.header("etag")
    issues_with(gateway, subject_token, new)


def test_a_file_that_is_renamed_within_its_directory_is_read_and_one_that_is_overwritten_is_not(
    prepare_gateway: StartGateway, subject_token: str
) -> None:
    """Vault Agent renames a temporary file of the same directory; an editor or `kubectl cp` overwrites."""
    gateway = prepare_gateway(keys=one_line(private_pem(rsa_key()))).start()
    file = gateway.directory / "keys" / "signing-keys"
    renamed, overwritten = rsa_key(), rsa_key()
    temporary = file.parent / "2718281828"
    temporary.write_text(gateway.sealed(one_line(private_pem(renamed))))
    temporary.rename(file)
    wait_until_published(gateway, thumbprint(renamed))
    file.write_text(gateway.sealed(one_line(private_pem(overwritten))))
    time.sleep(SECONDS_IN_WHICH_NOTHING_COMES)
    issues_with(gateway, subject_token, renamed)
    # A rename of another file makes Envoy read the directory again.
    temporary.write_text(file.read_text())
    temporary.rename(file)
    wait_until_published(gateway, thumbprint(overwritten))
