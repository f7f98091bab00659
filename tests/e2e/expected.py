"""The names that operators build alerts on, and the texts that logs have: one table, so that a change shows here."""

REJECTED = {
    "no token": "no_token",
    "expired": "expired",
    "not yet valid": "not_yet_valid",
    "too old": "too_old",
    "wrong audience": "wrong_audience",
    "wrong issuer": "unknown_issuer",
    "unknown kid": "unknown_key",
    "bad signature": "bad_signature",
    "contradictory": "invalid_claim",
    "unsigned": "malformed",
    "longer than allowed": "token_too_large",
    "alg none": "unsupported_algorithm",
    "audience": "audience_not_allowed",
    "no keys of the issuer": "issuer_keys_unavailable",
    "no keys of ours": "signing_keys_unavailable",
}

# What the log says of signing keys that are no use.
KEYS_REFUSED = {"RSA of 1024 bits": "an RSA key of 1024 bits", "no key at all": "neither a JSON keyring, nor a PEM"}
ISSUED_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"
GUARD = "jwt-reissuer did not handle this request: filter missing, or host not in extra_hosts"
SECONDS_TO_RECOVER = 15.0
