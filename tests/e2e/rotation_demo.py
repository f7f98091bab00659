"""A rotation of the signing key in fast motion: a real Envoy, one keyring with a time in it, and a clock moved by hand.

At each step it prints the key set that the world reads, the key that signs, and whether the tokens issued so far still verify.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import jwt

from harness.processes import NotReady, Supervisor
from harness.rotation import DAY, HOUR, FastMotion, rfc3339
from harness.signing_keys import p256_key


def main() -> int:
    begin = int(time.time()) // DAY * DAY
    turn = begin + 2 * DAY
    with tempfile.TemporaryDirectory(prefix="rotate-demo-") as directory:
        envoy = Path(directory) / "envoy"
        envoy.mkdir()
        supervisor = Supervisor(envoy)
        motion = FastMotion(Path(directory), supervisor, begin)
        try:
            show(motion, begin, turn)
        except NotReady:
            print(supervisor.logs(), file=sys.stderr)
            raise
        finally:
            supervisor.stop()
            motion.stop()
    print("rotate-demo: no token was ever without its key, and nothing was restarted")
    return 0


def show(motion: FastMotion, begin: int, turn: int) -> None:
    print(f"keyring: old signs, new has sign_at {rfc3339(turn)}; publish_ahead 24h, ttl 6h\n")
    motion.start((p256_key(), {"kid": "old"}), (p256_key(), {"kid": "new", "sign_at": rfc3339(turn)}))
    moments = [
        (begin, "the keyring is there"),
        (turn - DAY, "the new key is published"),
        (turn - 60, "a minute before the turn"),
        (turn, "the new key signs"),
        (turn + 6 * HOUR - 61, "the last token of the old key lives for a second more"),
        (turn + 12 * HOUR + 300, "the old key is gone"),
    ]
    tokens: list[tuple[str, str, str]] = []
    print(f"{'time':22}{'key set':14}{'signs':8}{'tokens':46}")
    for moment, what in moments:
        seen = motion.at(moment)
        tokens.append((rfc3339(moment), seen.signing, seen.token))
        verdicts = [verdict(motion, token) for _, _, token in tokens]
        print(f"{rfc3339(moment):22}{' '.join(seen.published):14}{seen.signing:8}{' '.join(verdicts):46} {what}")
        assert "UNVERIFIABLE" not in verdicts


def verdict(motion: FastMotion, token: str) -> str:
    """What PyJWT says by the key set that is served now, by the gateway's clock."""
    if not motion.lives(token):
        return "expired"
    keys = jwt.PyJWKSet.from_dict(motion.gateway.request("GET", "/openid/v1/jwks").json())
    kid = jwt.get_unverified_header(token)["kid"]
    found = next((key for key in keys.keys if key.key_id == kid), None)
    if found is None:
        return "UNVERIFIABLE"
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    jwt.decode(token, found.key, algorithms=["ES256"], options=options)
    return "good"


if __name__ == "__main__":
    sys.exit(main())
