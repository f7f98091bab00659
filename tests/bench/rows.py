"""The rows of the table: what is asked of which Envoy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster
from crypto_calls import NOTHING, SOFTWARE_RS256, ask, host_lines, software_lines
from envoys import (
    BEHIND, HOST, HOST_CRYPTO, OTHER, P256, RSA, SOFTWARE_CRYPTO, Caller, Envoys, JwtAuthn, for_all_hosts, signatures, software, without_filter,
)
from pools import Cursor, Pool, Signer, badly_signed, garbage, write
from rounds import Row, row
from wrk import Sent, WrongAnswers

REPEATED = 100
REFUSED = 200
REISSUE = Sent("POST", "/reissue", HOST)


@dataclass
class Pools:
    """Tokens for all."""

    rs256: Pool
    es256: Pool
    repeated: list[bytes]
    refused: dict[str, list[bytes]]
    """By what is wrong with them."""


def pools(cluster: Cluster, directory: Path) -> Pools:
    directory.mkdir()
    repeated = Signer(cluster, "RS256", pad=1100).tokens(9_000_000, REPEATED)

    def wrong(**changed: object) -> list[bytes]:
        return Signer(cluster, "RS256", **changed).tokens(9_100_000, REFUSED)

    return Pools(
        Pool(Signer(cluster, "RS256"), directory, "rs256"), Pool(Signer(cluster, "ES256"), directory, "es256"), repeated,
        {
            "garbage": garbage(REFUSED),
            "wrong audience": wrong(aud="https://elsewhere.example.com"),
            "expired": wrong(age=7 * 3600),
            "unknown key": wrong(kid="a-key-of-nobody"),
            "bad signature": badly_signed(wrong()),
        },
    )


def of_one_worker(envoys: Envoys, cluster: Cluster, pools: Pools, directory: Path) -> tuple[list[Row], list[Caller], str]:
    """Every row there is, the plugins that call cryptography alone beside them, and who signs, as the log says."""
    token = pools.repeated[0].decode()
    jwt_authn, calls, software_calls = JwtAuthn(cluster), Caller(HOST_CRYPTO, host_lines()), Caller(SOFTWARE_CRYPTO, software_lines())
    shipped = envoys.start("shipped", jwt_authn, calls, token=token)
    for_all = envoys.start("for-all", for_all_hosts, token=token)
    es256 = envoys.start("es256", keys=P256, token=token)
    soft_rsa = envoys.start("software-rsa", software, software_calls, keys=RSA, token=token)
    soft_p256 = envoys.start("software-p256", software, keys=P256, token=token)
    # One of its own: a worker remembers a number of tokens, which those that are new would push out.
    repeating = envoys.start("repeating", token=token)
    without, again = (envoys.start(name, without_filter) for name in ("without", "without-again"))
    directory.mkdir()
    repeated = write(directory / "repeated", pools.repeated, 1)
    refused = {name: write(directory / name.replace(" ", "-"), tokens, 1) for name, tokens in pools.refused.items()}
    other, get = Sent("GET", "/", OTHER), Sent("GET", "/", BEHIND)
    rows = [
        row("without", "direct_response, no filter in this Envoy", without, other, 200),
        row("without again", "the same, another Envoy: what is noise", again, other, 200),
        row("as shipped", "direct_response, another host, filter on for our virtual host alone (as shipped)", shipped, other, 200),
        row("for all", "direct_response, another host, filter on for all", for_all, other, 200),
        row("shared", "direct_response, our host shared, a path that passes", for_all, Sent("GET", "/shared", HOST), 200),
        row("behind", "direct_response behind the filter", shipped, get, 200),
        row("behind with document", "the same, with an answer like discovery's", shipped, Sent("GET", "/document", BEHIND), 200),
        row("behind with token", "the same, with a token in the request", shipped, Sent("POST", "/reissue", BEHIND), 200, tokens=repeated),
        row("discovery", "discovery document", shipped, Sent("GET", "/.well-known/openid-configuration", HOST), 200),
        row("jwks", "our key set", shipped, Sent("GET", "/openid/v1/jwks", HOST), 200),
        row("fresh", "reissue, every token new, signing RS256", shipped, REISSUE, 200, fresh=Cursor(pools.rs256)),
        row("fresh of es256", "the same, the cluster's tokens ES256", shipped, REISSUE, 200, fresh=Cursor(pools.es256)),
        row("fresh es256", "reissue, every token new, signing ES256", es256, REISSUE, 200, fresh=Cursor(pools.rs256)),
        row("software", "reissue, every token new, RS256 without Envoy's cryptography", soft_rsa, REISSUE, 200, fresh=Cursor(pools.rs256)),
        row("software es256", "reissue, every token new, ES256 without Envoy's cryptography", soft_p256, REISSUE, 200, fresh=Cursor(pools.rs256)),
        row("repeated", f"reissue, {REPEATED} tokens over and over", repeating, REISSUE, 200, tokens=repeated),
        *(row(f"refused {name}", f"refused: {name}", shipped, REISSUE, 401, tokens=file) for name, file in refused.items()),
        *_of_calls(calls),
        _of_call(software_calls, SOFTWARE_RS256, SOFTWARE_RS256, "a plugin that signs by the core's software, one RS256 signature"),
        row("jwt_authn", "Envoy's jwt_authn, the same good tokens", shipped, other, 200, tokens=repeated, port=jwt_authn.port),
        row("jwt_authn refused", "Envoy's jwt_authn, the same bad signatures", shipped, other, 401, tokens=refused["bad signature"], port=jwt_authn.port),
    ]
    said = signatures(shipped)
    if signatures(soft_rsa) == said:
        raise WrongAnswers(f"REISSUER_CRYPTO=software changes nothing: {said}")
    return rows, [calls, software_calls], said


def _of_calls(calls: Caller) -> list[Row]:
    """One call a request, as a reissue makes them."""
    there = [name for name in calls.names if ask(calls.port, name, 1) is not None]
    return [
        _of_call(calls, NOTHING, calls.names[-1], "a plugin that answers, and calls nothing", times=0),
        *(_of_call(calls, name, name, f"the same plugin, one call of {name}") for name in there),
    ]


def _of_call(calls: Caller, key: str, name: str, title: str, times: int = 1) -> Row:
    return row(key, title, calls.gateway, Sent("GET", f"/{name}?{times}", "crypto.example.com"), 200, port=calls.port)


def of_all_workers(envoys: Envoys, pools: Pools, directory: Path, workers: int) -> list[Row]:
    """Those that tell what more workers bring."""
    token = pools.repeated[0].decode()
    shipped = envoys.start("all-shipped", workers=workers, token=token)
    es256 = envoys.start("all-es256", keys=P256, workers=workers, token=token)
    repeating = envoys.start("all-repeating", workers=workers, token=token)
    without = envoys.start("all-without", without_filter, workers=workers)
    directory.mkdir()
    probe = row("without", "direct_response, no filter in this Envoy", without, Sent("GET", "/", OTHER), 200)
    repeated = write(directory / "repeated", pools.repeated, probe.load.threads)
    bad = write(directory / "bad", pools.refused["bad signature"], probe.load.threads)
    return [
        probe,
        row("behind", "direct_response behind the filter", shipped, Sent("GET", "/", BEHIND), 200),
        row("jwks", "our key set", shipped, Sent("GET", "/openid/v1/jwks", HOST), 200),
        row("fresh", "reissue, every token new, signing RS256", shipped, REISSUE, 200, fresh=Cursor(pools.rs256)),
        row("fresh es256", "reissue, every token new, signing ES256", es256, REISSUE, 200, fresh=Cursor(pools.rs256)),
        row("repeated", f"reissue, {REPEATED} tokens over and over", repeating, REISSUE, 200, tokens=repeated),
        row("refused bad signature", "refused: bad signature", shipped, REISSUE, 401, tokens=bad),
    ]
