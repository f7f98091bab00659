"""Tokens with something done to them: what an attacker, a broken issuer or a lax parser could come up with.

Where that is said to be signed, it is signed with the true key: so that a verifier gets past the signature and shows what it
makes of the rest.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from .edits import (
    ALGORITHMS, CLAIMS_BESIDE, HEADER_MEMBERS, ODD_MEMBERS, TEXTS, VALUES, Members, decode, encode, encodings, forms, members, put,
    scrambled, secrets, signature_forms, signed_texts, structures, text, turned, within, without,
)
from .subject_keys import SubjectKey, SubjectKeys, mac


@dataclass(frozen=True)
class Mutation:
    """What was done, for a reader, and the token as it goes over the wire. It never holds CR or LF, which no field can."""

    what: str
    token: bytes


@dataclass(frozen=True)
class Facts:
    """What both sides are configured with, and the second that it is."""

    issuer: str
    audience: str
    leeway: int
    max_age: int
    now: int


@dataclass
class Mutator:
    keys: SubjectKeys
    facts: Facts
    chance: random.Random
    header: Members = field(init=False)
    claims: Members = field(init=False)

    def __post_init__(self) -> None:
        now = self.facts.now
        self.header = members({"alg": "RS256", "kid": "rsa"})
        # As kube-apiserver writes them.
        self.claims = members({
            "aud": [self.facts.audience], "exp": now + 3600, "iat": now - 10, "iss": self.facts.issuer,
            "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
            "kubernetes.io": {
                "namespace": "payments", "node": {"name": "n1", "uid": "6c1b7a3e-0001-4000-8000-000000000001"},
                "pod": {"name": "ledger-0", "uid": "6c1b7a3e-0002-4000-8000-000000000002"},
                "serviceaccount": {"name": "ledger", "uid": "6c1b7a3e-0003-4000-8000-000000000003"}, "warnafter": now + 3597,
            },
            "nbf": now - 10, "sub": "system:serviceaccount:payments:ledger",
        })

    def all(self, at_random: int) -> Iterator[Mutation]:
        """Every systematic mutation, and as many at random."""
        for kind in (
            self.good, self.structure, self.encoding, self.bits, self.signatures, self.algorithms, self.key_ids, self.header_members,
            self.claim_members, self.nested_claims, self.members_twice, self.texts, self.times, self.audiences, self.issuers,
            self.subjects, self.sizes,
        ):
            for mutation in kind():
                yield Mutation(f"{kind.__name__}: {mutation.what}", mutation.token)
        for _ in range(at_random):
            yield self.random()

    # --- signing ---

    def signed(self, header: Members | bytes | None = None, claims: Members | bytes | None = None, kid: str = "rsa") -> bytes:
        """A token of these texts by a key of the set, with its algorithm."""
        key = self.keys[kid]
        head = self.header if header is None else header
        return signed_texts(encode(text(head)), encode(text(self.claims if claims is None else claims)), key, key.algorithm)

    def by(self, key: SubjectKey, algorithm: str | None = None, kid: str | None = None) -> bytes:
        """The good claims by any key, whatever the header says."""
        header = members({"alg": algorithm or key.algorithm, "kid": kid or key.kid})
        return signed_texts(encode(text(header)), encode(text(self.claims)), key, algorithm or key.algorithm)

    def with_claim(self, name: str, value: Any) -> bytes:
        return self.signed(claims=put(self.claims, name, json.dumps(value)))

    # --- what is done ---

    def good(self) -> Iterator[Mutation]:
        for key in self.keys.published:
            yield Mutation(key.kid, self.by(key))
        yield Mutation("pretty", self.signed(claims=json.dumps(json.loads(text(self.claims)), indent=2).encode()))

    def structure(self) -> Iterator[Mutation]:
        """Every single edit of the three segments and two dots."""
        another = self.with_claim("jti", "another").split(b".")
        for kid in ("rsa", "p-256"):
            token = self.by(self.keys[kid])
            segments = token.split(b".")
            for index, name in enumerate(("header", "claims", "signature")):
                for what, changed in structures(segments, index, another[index]):
                    yield Mutation(f"{kid} {name} {what}", changed)
            for what, changed in {
                "doubled": token + token, "doubled with a dot": token + b"." + token, "with a comma": token + b"," + token,
                "with a space": token + b" " + token, "reversed": b".".join(segments[::-1]), "dot before": b"." + token,
                "dot after": token + b".", "dots around": b"." + token + b".", "dots within": b"..".join(segments),
                "dots everywhere": b"..." + b"...".join(segments) + b"...", "five segments": token + b".AA.AA", "without dots": b"".join(segments),
                "no token": b"", "one dot": b".", "two dots": b"..", "only dots": b"." * 100, "space before": b" " + token,
                "spaces around": b" \t" + token + b"\t ", "quoted": b'"' + token + b'"', "in brackets": b"<" + token + b">",
                "Bearer twice": b"Bearer " + token, "percent-encoded": token.replace(b".", b"%2E"), "upper case": token.upper(),
                "as JSON": json.dumps(dict(zip(("protected", "payload", "signature"), map(bytes.decode, segments)))).encode(),
            }.items():
                yield Mutation(f"{kid} {what}", changed)
            for stray in (b"\x00", b"\x01", b"\t", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"#", b"?", b"~", b"=", b"!", b";x", b"&x=1", b"AAAA"):
                yield Mutation(f"{kid} {stray!r} after", token + stray)
                yield Mutation(f"{kid} {stray!r} before", stray + token)

    def encoding(self) -> Iterator[Mutation]:
        """Other base64 of the same bytes, and of nearly the same; header and claims are signed as they stand."""
        for kid in ("rsa", "p-256"):
            key = self.keys[kid]
            parts = [encode(text(members({"alg": key.algorithm, "kid": kid}))), encode(text(self.claims))]
            # Claims whose base64 has a padding of 0, 1 and 2 characters, and characters that differ between the alphabets.
            for length in range(3):
                padded = [parts[0], encode(text([*self.claims, ("x", json.dumps("~?>" + "o" * length))]))]
                good = signed_texts(padded[0], padded[1], key, key.algorithm).split(b".")
                yield Mutation(f"{kid} {length}", b".".join(good))
                for index, name in enumerate(("header", "claims", "signature")):
                    for what, segment in encodings(good[index]):
                        changed = [*good[:index], segment, *good[index + 1:]]
                        if index < 2:
                            changed = signed_texts(changed[0], changed[1], key, key.algorithm).split(b".", 2)
                        yield Mutation(f"{kid} {length} {name} {what}", b".".join(changed))

    def bits(self) -> Iterator[Mutation]:
        """One bit turned, of what is encoded and of the text."""
        for kid, every in (("rsa", 7), ("p-256", 5), ("p-521", 11)):
            token = self.by(self.keys[kid])
            segments = token.split(b".")
            for index, name in enumerate(("header", "claims", "signature")):
                content = decode(segments[index])
                for bit in range(0, 8 * len(content), every * (1 if name == "header" else 3)):
                    changed = [*segments[:index], encode(turned(content, bit)), *segments[index + 1:]]
                    yield Mutation(f"{kid} {name} bit {bit}", b".".join(changed))
            for bit in range(0, 8 * len(token), every * 13):
                changed_text = turned(token, bit)
                if not set(b"\r\n") & set(changed_text):
                    yield Mutation(f"{kid} text bit {bit}", changed_text)

    def signatures(self) -> Iterator[Mutation]:
        for kid in ("rsa", "rsa-any", "p-256", "p-384", "p-521"):
            key = self.keys[kid]
            token = self.by(key)
            start, signature = token.rsplit(b".", 1)
            for what, changed in signature_forms(decode(signature), key):
                yield Mutation(f"{kid} {what}", start + b"." + encode(changed))
        yield Mutation("by a stranger", self.by(self.keys.stranger, kid="rsa"))
        yield Mutation("by a stranger of that name", self.by(self.keys.stranger))

    def algorithms(self) -> Iterator[Mutation]:
        """Every algorithm with every key that can, under every name; and those that no public key has a part in."""
        kids = [key.kid for key in self.keys.published]
        for key in self.keys.published:
            is_ec = isinstance(key.private, ec.EllipticCurvePrivateKey)
            for algorithm in ALGORITHMS:
                if algorithm.startswith("ES") != is_ec:
                    continue
                for kid in kids:
                    yield Mutation(f"{algorithm} by {key.kid} as {kid}", self.by(key, algorithm, kid))
                    header = encode(text(members({"alg": algorithm, "kid": kid})))
                    other = "RS256" if not is_ec else "ES256"
                    yield Mutation(
                        f"{algorithm} in words, {other} by {key.kid} as {kid}", signed_texts(header, encode(text(self.claims)), key, other)
                    )
        payload = encode(text(self.claims))
        for kid in kids:
            for name in ("none", "None", "NONE", "nOnE", "", "HS256", "HS512", "EdDSA", "Ed25519", "ES256K", "RS1", "rs256", "RS256 ", "dir"):
                start = encode(text(members({"alg": name, "kid": kid}))) + b"." + payload
                for what, signature in (("without", b""), ("one of another", self.by(self.keys[kid]).rsplit(b".", 1)[1]), ("three bytes", b"AAAA")):
                    yield Mutation(f"{name!r} as {kid}, signature: {what}", start + b"." + signature)
            start = encode(text(members({"alg": "HS256", "kid": kid}))) + b"." + payload
            for what, secret in secrets(self.keys[kid]):
                yield Mutation(f"HS256 as {kid} by its public {what}", start + b"." + encode(mac(secret, start)))

    def key_ids(self) -> Iterator[Mutation]:
        variants: list[Any] = [
            "", " ", "rsa ", " rsa", "RSA", "rs", "rsaa", "rsa\x00", "../rsa", "rsa'--", "/dev/null", "p-256", "unknown", "rsa,p-256", "rſa",
            "x" * 1024, "x" * 1025, None, 0, 1, True, ["rsa"], {"rsa": 1}, [],
        ]
        for kid in variants:
            yield Mutation(repr(kid)[:40], self.signed(header=put(self.header, "kid", json.dumps(kid))))
        yield Mutation("escaped", self.signed(header=put(self.header, "kid", '"\\u0072s\\u0061"')))
        for key in self.keys.published:
            header = members({"alg": key.algorithm})
            yield Mutation(f"none, by {key.kid}", signed_texts(encode(text(header)), encode(text(self.claims)), key, key.algorithm))

    def header_members(self) -> Iterator[Mutation]:
        for name, values in HEADER_MEMBERS.items():
            for value in values:
                yield Mutation(f"{name}={value}", self.signed(header=put(self.header, name, value)))
        crit = [*self.header, ("crit", '["b64"]'), ("b64", "false")]
        yield Mutation("b64 as RFC 7797 has it", self.signed(header=crit))
        for name, value in self.header:
            yield Mutation(f"{name} removed", self.signed(header=without(self.header, name)))
            for other in (*VALUES, f"[{value}]", f'{{"{name}":{value}}}'):
                yield Mutation(f"{name}={other[:40]}", self.signed(header=put(self.header, name, other)))

    def claim_members(self) -> Iterator[Mutation]:
        for name, value in self.claims:
            yield Mutation(f"{name} removed", self.signed(claims=without(self.claims, name)))
            for other in (*VALUES, *forms(value)):
                yield Mutation(f"{name}={other[:40]}", self.signed(claims=put(self.claims, name, other)))
        for name, values in CLAIMS_BESIDE.items():
            for value in values:
                yield Mutation(f"{name}={value}", self.signed(claims=[*self.claims, (name, value)]))

    def nested_claims(self) -> Iterator[Mutation]:
        """The same within `kubernetes.io`, two levels deep."""
        bound = members(json.loads(dict(self.claims)["kubernetes.io"]))
        for name, value in bound:
            for what, changed in within(bound, name, value):
                yield Mutation(f"kubernetes.io {what}", self.signed(claims=put(self.claims, "kubernetes.io", text(changed).decode())))
            if value.startswith("{"):
                inner = members(json.loads(value))
                for inner_name, inner_value in inner:
                    for what, changed in within(inner, inner_name, inner_value):
                        outer = put(bound, name, text(changed).decode())
                        yield Mutation(f"{name} {what}", self.signed(claims=put(self.claims, "kubernetes.io", text(outer).decode())))

    def members_twice(self) -> Iterator[Mutation]:
        for part, object_ in (("header", self.header), ("claims", self.claims)):
            for name, value in object_:
                spelled = f"\\u{ord(name[0]):04x}{name[1:]}"
                for what, changed in {
                    "the same": [*object_, (name, value)], "null after": [*object_, (name, "null")], "null before": [(name, "null"), *object_],
                    "another after": [*object_, (name, '"x"')], "another before": [(name, '"x"'), *object_],
                    "escaped after": [*object_, (spelled, value)], "escaped before": [(spelled, value), *object_],
                    "escaped another": [*object_, (spelled, '"x"')],
                }.items():
                    yield Mutation(f"{part} {name} {what}", self.signed(**{part: changed}))
                alone = [(spelled if each == name else each, content) for each, content in object_]
                yield Mutation(f"{part} {name} escaped alone", self.signed(**{part: alone}))

    def texts(self) -> Iterator[Mutation]:
        for part, object_ in (("header", self.header), ("claims", self.claims)):
            content = text(object_)
            for form in TEXTS:
                yield Mutation(f"{part} {form!r}", self.signed(**{part: form.replace(b"{}", content)}))
            for odd in ODD_MEMBERS:
                yield Mutation(f"{part} {odd!r}", self.signed(**{part: b"{" + odd + b"," + content[1:]}))
            for charset in ("utf-16", "utf-16-le", "utf-32"):
                yield Mutation(f"{part} {charset}", self.signed(**{part: content.decode().encode(charset)}))
            yield Mutation(f"{part} cut", self.signed(**{part: content[:-1]}))
            yield Mutation(f"{part} single quotes", self.signed(**{part: content.replace(b'"', b"'")}))
            yield Mutation(f"{part} trailing comma", self.signed(**{part: content[:-1] + b",}"}))
            yield Mutation(f"{part} twice encoded", self.signed(**{part: json.dumps(content.decode()).encode()}))
            yield Mutation(f"{part} base64 of base64", self.signed(**{part: encode(content)}))

    def times(self) -> Iterator[Mutation]:
        """Each edge, and a second to both sides of it."""
        now, leeway, age = self.facts.now, self.facts.leeway, self.facts.max_age
        edges = sorted({each + step for each in (0, leeway, -leeway, age, -age, 2 * leeway, -2 * leeway) for step in (-1, 0, 1)})
        for name in ("exp", "nbf", "iat"):
            for edge in edges:
                yield Mutation(f"{name} now{edge:+}", self.with_claim(name, now + edge))
        for exp in edges:
            old = put(put(self.claims, "iat", str(now - 100)), "nbf", str(now - 100))
            yield Mutation(f"exp now{exp:+}, of a while ago", self.signed(claims=put(old, "exp", str(now + exp))))
            for nbf in (-leeway, 0, 1, leeway, leeway + 1):
                claims = put(put(self.claims, "exp", str(now + exp)), "nbf", str(now + nbf))
                yield Mutation(f"exp now{exp:+}, nbf now{nbf:+}", self.signed(claims=claims))
        for iat in (-1, 0, 1, leeway - 1, leeway, leeway + 1):
            for exp in (1, leeway, leeway + 1):
                claims = put(put(self.claims, "exp", str(now + exp)), "iat", str(now + iat))
                yield Mutation(f"exp now{exp:+}, iat now{iat:+}", self.signed(claims=without(claims, "nbf")))
        for exp in (2**31 - 1, 2**31, 2**32 - 1, 2**32, now + 2**32, 253402300799, 253402300800, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1):
            yield Mutation(f"exp {exp}", self.with_claim("exp", exp))
        for form in ("{}.0", "{}.5", "{}e0", "{}E+0", "{}0e-1", "{}.9999999999", "0{}", "+{}", "-{}", '"{}"', "{}000"):
            for name in ("exp", "nbf", "iat"):
                for value in (dict(self.claims)[name], str(now)):
                    yield Mutation(f"{name} {form.format(value)}", self.signed(claims=put(self.claims, name, form.format(value))))

    def audiences(self) -> Iterator[Mutation]:
        ours = self.facts.audience
        bare = ours.split("://")[-1]
        variants: list[Any] = [
            ours, [ours, "x"], ["x", ours], [ours, ours], ["x"], "x", [[ours]], [ours, 1], [1, ours], [ours, None], [ours, [ours]], {"0": ours},
            ours + "/", ours + "//", ours.upper(), ours + " ", " " + ours, ours + "\x00", ours[:-1], ours + "x", bare, bare + "/",
            "http://" + bare, "http://" + bare + "/", "https://" + ours, "HTTPS://" + bare, f"{ours} x", f"{ours},x", f"x {ours}", "", [""],
            "https://", "/", [bare], [ours + "/"], ["x", bare], "https://kubernetes.default.svc.cluster.local", "sts.amazonaws.com", "*", ["*"],
        ]
        for audience in variants:
            yield Mutation(repr(audience)[:60], self.with_claim("aud", audience))
        for count in (15, 16, 17, 300):
            yield Mutation(f"{count} audiences", self.with_claim("aud", [*(str(each) for each in range(count - 1)), ours]))
        yield Mutation("ours escaped", self.signed(claims=put(self.claims, "aud", '"' + "".join(f"\\u{ord(c):04x}" for c in ours) + '"')))

    def issuers(self) -> Iterator[Mutation]:
        ours = self.facts.issuer
        host = ours.split("://")[-1]
        for issuer in (
            ours + "/", ours.upper(), ours + " ", " " + ours, ours[:-1], ours + "x", host, "http://" + host, "https://evil.example", "", [ours],
            [ours, "x"], {"iss": ours}, ours + "\x00", ours + "#", ours + "?", ours + ":443", ours.replace("e", "е", 1), f"{ours},x", None, 1,
            "https://reissuer.example.com", "*",
        ):
            yield Mutation(repr(issuer)[:60], self.with_claim("iss", issuer))

    def subjects(self) -> Iterator[Mutation]:
        prefix = "system:serviceaccount:"
        for subject in (
            "", "x", "payments:ledger", prefix, prefix + "payments", prefix + "payments:", prefix + ":ledger", prefix + "payments:ledger:x",
            prefix + "payments:Ledger", prefix + "payments:ledger ", prefix.upper() + "payments:ledger", prefix + "payments:ledger\x00",
            prefix + "kube-system:admin", prefix + "payments:admin", prefix + "payments:-a", prefix + "a" * 64 + ":ledger", "system:admin",
            prefix + "payments:" + "a" * 254, prefix + "payments:*", prefix + "../x:ledger", "system:serviceaccounts:payments:ledger",
        ):
            yield Mutation(repr(subject)[:60], self.with_claim("sub", subject))
        for namespace, name in (("payments", "a" * 253), ("a" * 63, "ledger"), ("a" * 64, "ledger"), ("A", "b"), ("a.b", "c"), ("a", "b.c"), ("", ""), ("a", "b:c")):
            bound = json.loads(dict(self.claims)["kubernetes.io"])
            bound["namespace"], bound["serviceaccount"]["name"] = namespace, name
            claims = put(put(self.claims, "sub", json.dumps(f"{prefix}{namespace}:{name}")), "kubernetes.io", json.dumps(bound))
            yield Mutation(f"{namespace[:10]}:{name[:10]} and kubernetes.io agrees", self.signed(claims=claims))

    def sizes(self) -> Iterator[Mutation]:
        for depth in (4, 14, 15, 16, 17, 32, 99, 100, 101, 127, 128, 129, 1000):
            for opening, closing in ("[]", ("{\"a\":", "}")):
                value = opening * depth + ("" if opening == "[" else "1") + closing * depth
                yield Mutation(f"claims {depth} deep", self.signed(claims=[*self.claims, ("x", value)]))
                yield Mutation(f"header {depth} deep", self.signed(header=[*self.header, ("x", value)]))
        for part, limit in (("header", 2048), ("claims", 5800)):
            object_ = self.header if part == "header" else self.claims
            for length in (limit - 1, limit, limit + 1, limit + 2, limit + 1500, 12000):
                fill = length - len(text([*object_, ("x", '""')]))
                yield Mutation(f"{part} of {length}", self.signed(**{part: [*object_, ("x", json.dumps("x" * fill))]}))
        for length in (8188, 8189, 8190, 8191, 8192, 8193, 8194, 8195, 8196):
            token = self.signed(claims=[*self.claims, ("x", '""')])
            fill = (length - len(token)) * 3 // 4
            for step in (-1, 0, 1):
                yield Mutation(f"about {length}", self.signed(claims=[*self.claims, ("x", json.dumps("x" * (fill + step)))]))
        for length in (0, 255, 256, 257, 1000):
            yield Mutation(f"jti of {length}", self.with_claim("jti", "j" * length))
        for count in (10, 100, 300):
            yield Mutation(f"{count} members", self.signed(claims=[*self.claims, *((f"m{each}", "0") for each in range(count))]))

    def random(self) -> Mutation:
        """Up to three edits at random: of the members, of their texts before signing, or of the token after it."""
        chance = self.chance
        key = chance.choice(self.keys.published)
        header, claims = members({"alg": key.algorithm, "kid": key.kid}), list(self.claims)
        done: list[str] = [key.kid]
        for _ in range(chance.randint(0, 2)):
            object_, name = chance.choice(((header, "header"), (claims, "claims"), (claims, "claims")))
            done.append(f"{name} {self._edit(object_)}")
        texts = [text(header), text(claims)]
        if chance.random() < 0.5:
            part = chance.randrange(2)
            texts[part], what = scrambled(texts[part], chance)
            done.append(f"part {part} {what}")
        token = signed_texts(encode(texts[0]), encode(texts[1]), key, key.algorithm)
        if chance.random() < 0.3:
            token, what = scrambled(token, chance)
            done.append(f"token {what}")
        return Mutation(f"random: {', '.join(done)}", bytes(byte for byte in token if byte not in b"\r\n"))

    def _edit(self, object_: Members) -> str:
        chance = self.chance
        index = chance.randrange(len(object_)) if object_ else 0
        edit = chance.choice(("remove", "value", "move", "repeat", "time", "add")) if object_ else "add"
        if edit == "remove":
            return f"without {object_.pop(index)[0]}"
        if edit == "move":
            object_.append(object_.pop(index))
        elif edit == "repeat":
            object_.append(object_[index])
        elif edit == "add":
            object_.insert(index, (chance.choice("xyz"), chance.choice(VALUES)))
        else:
            name = chance.choice(("exp", "nbf", "iat")) if edit == "time" else object_[index][0]
            near = chance.choice((0, self.facts.leeway, -self.facts.leeway, -self.facts.max_age)) + chance.randint(-2, 2)
            value = str(self.facts.now + near) if edit == "time" else chance.choice(VALUES)
            object_[:] = put(object_, name, value)
            return f"{name}={value[:40]}"
        return f"{edit} {index}"
