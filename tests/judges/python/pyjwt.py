"""An independent verifier: python pyjwt.py ISSUER AUDIENCE < token. Prints the claims, or says why not and fails."""

import json
import sys
import urllib.request

import jwt

issuer, audience = sys.argv[1:]
token = sys.stdin.read()
try:
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=10) as answer:
        metadata = json.load(answer)
    if metadata["issuer"] != issuer:
        raise ValueError(f"the discovery document names issuer {metadata['issuer']}")
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    required = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]
    claims = jwt.decode(
        token, key, algorithms=metadata["id_token_signing_alg_values_supported"], issuer=issuer, audience=audience,
        options={"require": required},
    )
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps(claims))
