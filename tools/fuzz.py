"""Runs the fuzz targets for a while each: python3 tools/fuzz.py [TARGET ... | check | keep]

$FUZZ_SECONDS is how long for each target, 60 unless set. Starts from seeds that are made of the test vectors and from fuzz/seeds, goes on
from what earlier runs found here, and says how many inputs each target was given. A finding fails it and is kept.
`check` only says what is missing; `keep` takes of what was found the least that covers all, and writes it to fuzz/seeds.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from typing import Dict, Iterator, List, Tuple

import cache
import rust
from cache import REPOSITORY, SetupError

FUZZ = REPOSITORY / "fuzz"
BUILD = REPOSITORY / "target" / "fuzz"
VECTORS = REPOSITORY / "tests" / "vectors"
KEPT = FUZZ / "seeds"
MOST_KEPT = 48 * 1024
TARGETS = tuple(sorted(file.stem for file in (FUZZ / "fuzz_targets").glob("*.rs")))
# Longer than any input that is not refused for its length alone, but for a JWKS: that would make the search slow.
LONGEST_INPUT = 16 * 1024


def program(arguments: List[str]) -> int:
    rust.nightly("fuzzing")
    if arguments == ["check"]:
        return 0
    if arguments == ["keep"]:
        for target in TARGETS:
            _keep(target)
        return 0
    targets = arguments or list(TARGETS)
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        raise SetupError(f"no such target: {' '.join(unknown)}; there are {' '.join(TARGETS)}")
    seconds = _seconds()
    for target in targets:
        # All are compiled before the first runs, so that a target is given its time whole.
        _cargo_fuzz("build", target)
    results = {target: _run(target, seconds) for target in targets}
    print(f"\nfuzz, {seconds} s each:")
    for target, (runs, coverage, finding) in results.items():
        print(f"  {target:8} {runs:>9} runs, {coverage} edges covered{', FOUND SOMETHING' if finding else ''}")
    found = [target for target, (_, _, finding) in results.items() if finding]
    for target in found:
        print(f"\n{results[target][2]}")
    if found:
        raise SetupError(f"the fuzzer found something in: {' '.join(found)}")
    print("fuzz: nothing found")
    return 0


def _seconds() -> int:
    text = os.environ.get("FUZZ_SECONDS") or "60"
    if not text.isdigit() or int(text) == 0:
        raise SetupError(f"FUZZ_SECONDS is {text!r}: a whole number of seconds")
    return int(text)


def _cargo_fuzz(verb: str, target: str, *arguments: str) -> None:
    log = BUILD / f"{verb}-{target}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    cache.run(
        _command(verb, target, *arguments), what=f"{verb} {target}", log=log, cwd=REPOSITORY, env=_environment(),
        progress=lambda lines: lines[-1].strip() if lines else "",
    )


def _command(verb: str, target: str, *arguments: str) -> List[str]:
    # No sanitizer: the core forbids unsafe code, and each input costs half as much without.
    return [str(rust.cargo_fuzz()), verb, "--sanitizer", "none", "--target-dir", str(BUILD), target, *arguments]


def _environment() -> Dict[str, str]:
    return {**os.environ, "RUSTUP_TOOLCHAIN": "nightly"}


def _run(target: str, seconds: int) -> Tuple[int, int, str]:
    """Runs one target; gives how many runs, how many edges, and what was found, if anything was."""
    corpus, seeds = FUZZ / "corpus" / target, BUILD / "seeds" / target
    for directory in (corpus, seeds):
        directory.mkdir(parents=True, exist_ok=True)
    for name, content in [*_seeds(target), *_kept(target)]:
        (seeds / name).write_bytes(content)
    options = [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=20", f"-max_len={LONGEST_INPUT}"]
    if target == "story":
        # A short story is a dull one: long ones from the beginning.
        options += ["-len_control=0", "-max_len=2048"]
    dictionary = FUZZ / "dictionaries" / f"{target}.dict"
    if dictionary.exists():
        options.append(f"-dict={dictionary}")
    log = BUILD / f"run-{target}.log"
    failed = ""
    try:
        cache.run(
            _command("run", target, str(corpus), str(seeds), "--", *options), what=f"run {target}", log=log, cwd=REPOSITORY,
            env=_environment(), progress=lambda lines: lines[-1].strip() if lines else "",
        )
    except SetupError as error:
        failed = str(error)
    text = log.read_text(errors="replace")
    if failed:
        # What was asserted stands far above the end of the log.
        panic = re.search(r"^thread .* panicked at (.*?)(?:^note:|^stack backtrace|^==)", text, re.M | re.S)
        failed = f"{panic.group(1).strip() if panic else ''}\n{failed}"
    runs = re.findall(r"stat::number_of_executed_units: +(\d+)", text) or re.findall(r"^#(\d+)", text, re.M)
    coverage = re.findall(r"cov: (\d+)", text)
    return int(runs[-1]) if runs else 0, int(coverage[-1]) if coverage else 0, failed


def _kept(target: str) -> Iterator[Tuple[str, bytes]]:
    """What earlier searches found, as it was committed: one input a line, base64."""
    file = KEPT / f"{target}.txt"
    lines = file.read_text().split() if file.exists() else []
    for number, line in enumerate(lines):
        yield f"kept-{number}", base64.b64decode(line)


def _keep(target: str) -> None:
    """Merges everything there is into the least that covers as much, the smallest first, and keeps as much as is reviewable."""
    least = BUILD / "least" / target
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir(parents=True)
    log = BUILD / f"keep-{target}.log"
    sources = [str(FUZZ / "corpus" / target), str(BUILD / "seeds" / target)]
    cache.run(
        _command("run", target, str(least), *sources, "--", "-merge=1", f"-max_len={LONGEST_INPUT}"), what=f"merge {target}",
        log=log, cwd=REPOSITORY, env=_environment(),
    )
    made = {content for _, content in _seeds(target)}
    inputs = sorted((file.read_bytes() for file in least.iterdir()), key=lambda content: (len(content), content))
    kept: List[bytes] = []
    for content in inputs:
        if content not in made and sum(map(len, kept)) + len(content) <= MOST_KEPT:
            kept.append(content)
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{target}.txt").write_text("".join(base64.b64encode(content).decode() + "\n" for content in kept))
    print(f"keep: {target}: {len(kept)} of {len(inputs)} inputs, {sum(map(len, kept))} bytes")


def _seeds(target: str) -> Iterator[Tuple[str, bytes]]:
    """Name and content of inputs to begin with, in the form that the target reads."""
    if target == "token":
        yield from _token_seeds()
    elif target == "jwks":
        yield from _jwks_seeds()
    elif target == "config":
        yield from _config_seeds()
    elif target == "keyring":
        yield from _keyring_seeds()
    elif target == "request":
        yield from _request_seeds()


def _token_seeds() -> Iterator[Tuple[str, bytes]]:
    vectors = json.loads((VECTORS / "negative" / "tokens.json").read_text())
    for case in vectors["cases"]:
        token = case["token"].encode()
        yield f"{case['id']}-raw", b"\0" + token
        segments = token.split(b".")
        if len(segments) == 3:
            decoded = [_base64url(segment) for segment in segments[:2]]
            yield f"{case['id']}-signed", b"\1" + decoded[0] + b"\0" + decoded[1]
            yield f"{case['id']}-signed-rsa", b"\3" + decoded[0] + b"\0" + decoded[1]


def _jwks_seeds() -> Iterator[Tuple[str, bytes]]:
    vectors = json.loads((VECTORS / "negative" / "jwks.json").read_text())
    for name, document in vectors["documents"].items():
        yield name, json.dumps(document).encode()
    for case in vectors["cases"]:
        if case.get("raw"):
            yield case["id"], case["raw"].encode()
    for name, document in json.loads((VECTORS / "negative" / "tokens.json").read_text())["jwks"].items():
        yield f"tokens-{name}", json.dumps(document).encode()


def _config_seeds() -> Iterator[Tuple[str, bytes]]:
    shipped = {f"shipped-{file.name}": file.read_text() for file in (REPOSITORY / "envoy").rglob("*.json")}
    for name, text in shipped.items():
        yield name, text.encode()
    least = {
        "issuer": "https://reissuer.example.com",
        "audiences": ["sts.amazonaws.com"],
        "signing_keys": {"from": {"env": "KEY"}, "publish_ahead": "24h", "documents_max_age": "5m"},
        "trusted_issuers": [
            {
                "name": "prod", "issuer": "https://kubernetes.default.svc", "audiences": ["jwt-reissuer"],
                "jwks": {"envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc"},
            }
        ],
    }
    yield "least", json.dumps(least).encode()
    inline = json.loads((VECTORS / "negative" / "tokens.json").read_text())["jwks"]["main"]
    other = {**least["trusted_issuers"][0], "name": "other", "issuer": "https://other.example.com", "jwks": {"inline": inline}}
    full = {
        **least, "trusted_issuers": [*least["trusted_issuers"], other], "serve": ["documents", "tokens"], "ttl": "1h",
        "shared_host": True, "extra_hosts": ["a.example.com"], "limits": {"token_bytes": 4096}, "read_forms": True,
        "claims": {"copy": ["kubernetes.io", "extra"], "set": {"https://aws.amazon.com/tags": {"cluster": ["prod"]}}},
    }
    yield "full", json.dumps(full).encode()
    yield "documents", json.dumps({**least, "serve": ["documents"]}).encode()
    issuers = json.loads((VECTORS / "negative" / "issuer_strings.json").read_text())
    for index, issuer in enumerate([*issuers["valid"], *issuers["invalid"]]):
        yield f"issuer-{index}", json.dumps({**least, "issuer": issuer}).encode()


def _keyring_seeds() -> Iterator[Tuple[str, bytes]]:
    yield "pem", b"@"
    yield "two", b"@@"
    entry = b'{"kid":"a","algorithm":"ES256","private_key":"@"}'
    yield "keyring", b'{"keys":[' + entry + b"]}"
    yield "twice", b'{"keys":[' + entry + b"," + entry.replace(b'"a"', b'"b"').replace(b"@", b"^") + b"]}"
    turn = entry[:-1].replace(b'"a"', b'"b"').replace(b"@", b"^") + b',"publish_at":"2026-07-01T00:00:00Z","sign_at":"2026-07-08T00:00:00Z"}'
    yield "timetable", b'{"keys":[' + entry + b"," + turn + b"]}"
    yield "retired", b'{"keys":[' + entry[:-1] + b',"retire_at":"2026-08-01T00:00:00Z"},' + turn + b"]}"
    for label in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"):
        yield label.replace(" ", "-"), f"-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n".encode()
    # Public halves are taken from the vectors; a private one there is published, and so refused.
    for file in sorted((VECTORS / "wycheproof").glob("*_test.json"))[:6]:
        for group in json.loads(file.read_text())["testGroups"][:1]:
            pem = group.get("publicKeyPem")
            if pem:
                yield file.stem, json.dumps({"keys": [{"private_key": "@"}, {"kid": "old", "public_key": pem}]}).encode()
                yield f"{file.stem}-alone", json.dumps({"keys": [{"public_key": pem}]}).encode()
            der = group.get("privateKeyPkcs8")
            if der:
                yield f"{file.stem}-der", bytes.fromhex(der)


def _request_seeds() -> Iterator[Tuple[str, bytes]]:
    requests = [
        ("POST", "reissuer.example.com", "/reissue?audience=sts.amazonaws.com", ["authorization: Bearer a.b.c"]),
        ("POST", "Reissuer.Example.COM.:8443", "/token", ["authorization: Bearer a.b.c", "accept: application/json;q=0.5"]),
        ("POST", "reissuer.example.com", "/token", ["content-type: application/x-www-form-urlencoded", "content-length: 3"]),
        ("GET", "reissuer.example.com", "/.well-known/openid-configuration", ['if-none-match: W/"x"']),
        ("HEAD", "reissuer.infra.svc.cluster.local", "/tenant/openid/v1/jwks", []),
        ("OPTIONS", "reissuer.example.com", "/openid/v1/jwks", []),
        ("POST", "reissuer.example.com", "//reissue", ["authorization: Basic a"]),
        ("POST", "app.example.com", "/reissue", []),
        ("POST", "reissuer.example.com", "/reissue", ["authorization: Bearer a", "authorization: Bearer b", "content-type: application/grpc"]),
    ]
    for index, (method, authority, path, headers) in enumerate(requests):
        for choices in (0, 1, 2, 4, 64, 128, 192):
            yield f"{index}-{choices}", bytes([choices]) + "\n".join([method, authority, path, *headers]).encode()


def _base64url(text: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        return text


if __name__ == "__main__":
    cache.main(program)
