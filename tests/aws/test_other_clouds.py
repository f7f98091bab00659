"""docs/clouds.md: its configurations against what Google and Azure demand, and their own clients, which send our token on."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_clients import Application
from conftest import AUDIENCE, REISSUER, STS, StartPublicGateway
from harness import installed
from harness.gateway import Gateway
from harness.kubernetes import ApiServer
from harness.oidc import discover, verified_by_keys
from harness.pki import Authority, private_pem
from harness.signing_keys import one_line, p256_key
from harness.supervised import supervised
from harness.tokens import decode
from harness.page import blocks, only
from sidecar import Sidecar
from stand_in_clouds import AZURE, GOOGLE, Exchange, StandInCloud

PAGE = installed.REPOSITORY / "docs" / "clouds.md"
CONFIGURATIONS = ("google", "azure", "all")
AZURE_AUDIENCE = "api://AzureADTokenExchange"
PROVIDER = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/kubernetes/providers/reissuer"
GOOGLE_AUDIENCE = f"https:{PROVIDER}"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
STORAGE, VAULT = "https://storage.azure.com/.default", "https://vault.azure.net/.default"
# Where the pods of the page have the issued token.
VOLUME = "/var/run/secrets/issued-token"
HOUR = 3600
# For so long Azure's client sends what it has read before.
TEN_MINUTES = 600
# As the manifest of the refresher projects it.
SUBJECT_TOKEN_SECONDS = 24 * HOUR


@dataclass(frozen=True)
class Issued:
    """A token, and all that a cloud sees beside it."""

    header: dict[str, Any]
    claims: dict[str, Any]
    keys: list[dict[str, Any]]
    audiences: list[str]


Facts = dict[str, Callable[[Issued], bool]]

GOOGLE_DEMANDS: Facts = {
    "signed by RS256 or ES256": lambda token: token.header["alg"] in ("RS256", "ES256"),
    "kid names a published key": lambda token: token.header["kid"] in [key["kid"] for key in token.keys],
    "issued at most 24 hours ago, and not in the future": lambda token: 0 <= time.time() - token.claims["iat"] < 24 * HOUR,
    "lives less than 48 hours": lambda token: 0 < token.claims["exp"] - token.claims["iat"] < 48 * HOUR,
    "lives no more than 6 hours, below which Google advises to stay": lambda token: token.claims["exp"] - token.claims["iat"] <= 6 * HOUR,
    "the provider's name is its audience": lambda token: token.claims["aud"] == GOOGLE_AUDIENCE,
    "at most 10 audiences": lambda token: len(token.audiences) <= 10,
    "no audience of more than 256 characters": lambda token: all(len(audience) <= 256 for audience in token.audiences),
    "a subject of at most 127 characters": lambda token: len(mapped("google", token.claims)) <= 127,
}
AZURE_DEMANDS: Facts = {
    "signed by RS256": lambda token: token.header["alg"] == "RS256",
    "kid names a published key": lambda token: token.header["kid"] in [key["kid"] for key in token.keys],
    "no key that is not RSA": lambda token: {key["kty"] for key in token.keys} == {"RSA"},
    "the one audience there is": lambda token: token.claims["aud"] == AZURE_AUDIENCE,
    "the issuer that the credential names": lambda token: token.claims["iss"] == option(command("azure"), "issuer"),
    "the subject that the credential names": lambda token: token.claims["sub"] == option(command("azure"), "subject"),
    "an issuer of at most 600 characters": lambda token: len(token.claims["iss"]) <= 600,
    "a subject of at most 600 characters": lambda token: len(token.claims["sub"]) <= 600,
    "not expired": lambda token: token.claims["exp"] > time.time(),
}
DEMANDS: dict[str, tuple[str, Facts]] = {
    "google": (GOOGLE_AUDIENCE, GOOGLE_DEMANDS), "azure": (AZURE_AUDIENCE, AZURE_DEMANDS),
}


def block(language: str, *words: str) -> str:
    """The page's only block with this after its fence."""
    return only(PAGE, language, *words)


def command(*words: str) -> str:
    return block("sh", *words)


def option(text: str, name: str) -> str:
    """The value of a long option in a piece of shell."""
    (value,) = re.findall(rf"--{name}[= ]\"([^\"]*)\"", text)
    return str(value)


def mapped(words: str, claims: dict[str, Any]) -> str:
    """What Google makes of the claims by the attribute mapping of a command of the page."""
    target, expression = option(command(*words.split()), "attribute-mapping").split("=", 1)
    assert target == "google.subject"
    path = re.fullmatch(r"assertion((?:\.\w+|\['[^']+'\])+)", expression)
    assert path is not None, expression
    value: Any = claims
    for dotted, indexed in re.findall(r"\.(\w+)|\['([^']+)'\]", path[1]):
        value = value[dotted or indexed]
    assert isinstance(value, str)
    return value


@contextmanager
def configured(prepare_public_gateway: StartPublicGateway, name: str, keys: str | None = None) -> Iterator[Gateway]:
    """A gateway that runs with a configuration of the page. One at a time: all are on the same address."""
    gateway = prepare_public_gateway(keys=keys)
    gateway.config = json.loads(block("json", name))
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def subject_token(cluster: ApiServer, namespace: str = "default", account: str = "my-app") -> str:
    pod = cluster.create_pod(namespace, account, "my-app-0")
    return cluster.token(namespace, account, [AUDIENCE], pod=pod, seconds=SUBJECT_TOKEN_SECONDS)


def issued(gateway: Gateway, token: str, query: str) -> Issued:
    answer = gateway.reissue(token, f"/reissue{query}")
    assert answer.status == 200, answer
    metadata, jwks = discover(gateway)
    header, claims = decode(answer.text())
    verified_by_keys(answer.text(), jwks, metadata["issuer"], claims["aud"])
    return Issued(header, claims, jwks["keys"], gateway.config["audiences"])


Tokens = dict[tuple[str, str], Issued]


@pytest.fixture(scope="module")
def tokens(prepare_public_gateway: StartPublicGateway, cluster: ApiServer) -> Tokens:
    """A token for each cloud by each configuration that serves it."""
    subject, made = subject_token(cluster), {}
    for cloud in DEMANDS:
        with configured(prepare_public_gateway, cloud) as gateway:
            made[cloud, cloud] = issued(gateway, subject, "")
    with configured(prepare_public_gateway, "all") as gateway:
        for cloud, (audience, _) in DEMANDS.items():
            made["all", cloud] = issued(gateway, subject, f"?audience={audience}")
        made["all", "aws"] = issued(gateway, subject, "")
        assert gateway.reissue(subject, "/reissue?audience=elsewhere.example.com").status == 403
    return made


def broken(facts: Facts, token: Issued) -> set[str]:
    return {name for name, holds in facts.items() if not holds(token)}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_differs_from_the_sample_in_its_audiences_alone(name: str) -> None:
    sample = json.loads((installed.SAMPLES / "config.json").read_text())
    assert {**json.loads(block("json", name)), "audiences": sample["audiences"]} == sample


@pytest.mark.parametrize(("name", "cloud"), [("google", "google"), ("azure", "azure"), ("all", "google"), ("all", "azure")])
def test_a_token_is_what_the_cloud_demands(tokens: Tokens, name: str, cloud: str) -> None:
    assert not broken(DEMANDS[cloud][1], tokens[name, cloud]), tokens[name, cloud]


def test_who_asks_for_no_audience_gets_a_token_for_the_first(tokens: Tokens) -> None:
    assert tokens["all", "aws"].claims["aud"] == STS


def test_a_token_for_one_cloud_is_not_one_for_the_other(tokens: Tokens) -> None:
    assert broken(GOOGLE_DEMANDS, tokens["all", "azure"]) == {"the provider's name is its audience"}
    assert broken(AZURE_DEMANDS, tokens["all", "google"]) == {"the one audience there is"}


def test_an_elliptic_key_is_good_for_google_and_not_for_azure(
    prepare_public_gateway: StartPublicGateway, cluster: ApiServer
) -> None:
    subject = subject_token(cluster)
    with configured(prepare_public_gateway, "all", keys=one_line(private_pem(p256_key()))) as gateway:
        assert not broken(GOOGLE_DEMANDS, issued(gateway, subject, f"?audience={GOOGLE_AUDIENCE}"))
        refused = broken(AZURE_DEMANDS, issued(gateway, subject, f"?audience={AZURE_AUDIENCE}"))
    assert refused == {"signed by RS256", "no key that is not RSA"}


def test_a_subject_that_is_too_long_for_google_is_mapped_to_its_uid(
    prepare_public_gateway: StartPublicGateway, cluster: ApiServer
) -> None:
    with configured(prepare_public_gateway, "google") as gateway:
        long = issued(gateway, subject_token(cluster, "n" * 63, "a" * 253), "")
    assert broken(GOOGLE_DEMANDS, long) == {"a subject of at most 127 characters"}
    assert len(mapped("google uid", long.claims)) == 36


def test_the_commands_name_what_the_tokens_have(tokens: Tokens) -> None:
    google, claims = command("google"), tokens["google", "google"].claims
    assert option(google, "issuer-uri") == claims["iss"] == f"https://{REISSUER}"
    pool, _ = PROVIDER.split("/providers/")
    assert option(google, "member") == f"principal:{pool}/subject/{mapped('google', claims)}"
    for each in ("kubernetes", "reissuer"):
        assert f" create {each} " in google or f" create-oidc {each} " in google
    assert option(command("azure"), "audiences") == tokens["azure", "azure"].claims["aud"]
    for each in [each for each in blocks(PAGE) if each.language == "sh"]:
        assert subprocess.run(["bash", "-n", "-c", each.text]).returncode == 0


def test_the_refresher_asks_for_an_audience_of_the_gateway_that_serves_all() -> None:
    (setting,) = yaml.safe_load(block("yaml", "refresher"))["env"]
    assert setting["name"] == "AUDIENCE"
    assert setting["value"] in json.loads(block("json", "all"))["audiences"]


@dataclass
class Rotating:
    """A pod's issued token, written by the sidecar that we ship, and the cloud that its application goes to."""

    cloud: StandInCloud
    sidecar: Sidecar
    audience: str

    def next_token(self) -> str:
        """Has the file replaced; what stands in it afterwards is a token for the audience, and no more."""
        before = self.sidecar.token.read_bytes() if self.sidecar.token.exists() else b""
        self.sidecar.pod.renew_tokens()
        refresher = self.sidecar.run(AUDIENCE=self.audience)
        refresher.wait_until("another token", lambda: self.sidecar.has_token() and self.sidecar.token.read_bytes() != before, 15)
        refresher.stop()
        token = self.sidecar.token.read_bytes().decode()
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token), "white space would be sent on"
        assert decode(token)[1]["aud"] == self.audience
        return token

    def here(self, text: str) -> str:
        """With the path of the volume turned into the one that it has here."""
        assert text.count(VOLUME) == 1
        return text.replace(VOLUME, str(self.sidecar.token.parent))

    def environment(self, *words: str) -> dict[str, str]:
        """The variables that the page shows."""
        return {each["name"]: each["value"] for each in yaml.safe_load(block("yaml", *words))["env"]}

    def last(self) -> Exchange:
        return self.cloud.exchanges[-1]


@pytest.fixture
def serves_all(prepare_public_gateway: StartPublicGateway) -> Iterator[Gateway]:
    with configured(prepare_public_gateway, "all") as gateway:
        yield gateway


@pytest.fixture
def rotating(
    request: pytest.FixtureRequest, tmp_path: Path, cluster: ApiServer, chains: dict[str, tuple[Path, Path]],
    trusting_tls: dict[str, str], serves_all: Gateway,
) -> Iterator[Rotating]:
    host, audience = request.param
    cloud = StandInCloud(host, chains[host])
    try:
        with supervised(tmp_path) as supervisor:
            yield Rotating(cloud, Sidecar(cluster, supervisor, trusting_tls), audience)
    finally:
        cloud.stop()


@pytest.mark.parametrize("rotating", [(GOOGLE, GOOGLE_AUDIENCE)], indirect=True, ids=["google-auth"])
def test_googles_client_sends_our_token_unchanged_and_the_new_one_when_the_file_is_replaced(
    rotating: Rotating, tmp_path: Path, authority: Authority
) -> None:
    shown, ((variable, shipped_path),) = block("json", "google", "client"), rotating.environment("google", "client").items()
    configuration = tmp_path / Path(shipped_path).name
    configuration.write_text(rotating.here(shown))

    token = rotating.next_token()
    with Application("google_token.py", {variable: str(configuration)}, tmp_path, authority.certificate) as application:
        assert application.access_token(CLOUD_PLATFORM) == f"token-1-of-{GOOGLE}"
        assert rotating.last() == Exchange(GOOGLE, "/v1/token", {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": PROVIDER,
            "scope": CLOUD_PLATFORM,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        })
        renewed = rotating.next_token()
        assert application.access_token(CLOUD_PLATFORM) == f"token-2-of-{GOOGLE}"
        assert rotating.last().form["subject_token"] == renewed != token


@pytest.mark.parametrize("rotating", [(AZURE, AZURE_AUDIENCE)], indirect=True, ids=["azure-identity"])
def test_azures_client_sends_our_token_unchanged_and_ten_minutes_after_the_file_is_replaced_the_new_one(
    rotating: Rotating, tmp_path: Path, authority: Authority
) -> None:
    shown = rotating.environment("azure", "client")
    environment = {**shown, "AZURE_FEDERATED_TOKEN_FILE": rotating.here(shown["AZURE_FEDERATED_TOKEN_FILE"])}

    token = rotating.next_token()
    with Application("azure_token.py", environment, tmp_path, authority.certificate) as application:
        assert application.access_token(STORAGE) == f"token-1-of-{AZURE}"
        sent = rotating.last()
        assert (sent.host, sent.path) == (AZURE, f"/{shown['AZURE_TENANT_ID']}/oauth2/v2.0/token")
        assert sent.form | {
            "grant_type": "client_credentials",
            "client_id": shown["AZURE_CLIENT_ID"],
            "scope": STORAGE,
            "client_assertion": token,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        } == sent.form
        renewed = rotating.next_token()
        assert application.access_token(VAULT) == f"token-2-of-{AZURE}"
        assert rotating.last().form["client_assertion"] == token, "the file was read a moment ago"
        assert application.access_token(STORAGE, seconds_later=TEN_MINUTES + 1) == f"token-3-of-{AZURE}"
        assert rotating.last().form["client_assertion"] == renewed != token


def test_tokens_live_much_longer_than_the_ten_minutes_for_which_azures_client_keeps_one(tokens: Tokens) -> None:
    for configuration in ("azure", "all"):
        claims = tokens[configuration, "azure"].claims
        # The refresher replaces it when half of that, or an hour, has gone by.
        assert (claims["exp"] - claims["iat"]) / 2 > 2 * TEN_MINUTES
