"""An independent verifier: python google_auth.py ISSUER AUDIENCE < token. Prints the claims, or says why not and fails."""

import json
import sys

import requests
from google.auth.transport.requests import Request
from google.oauth2 import id_token

issuer, audience = sys.argv[1:]
token = sys.stdin.read()
try:
    metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=10).json()
    claims = id_token.verify_token(token, Request(), audience=audience, certs_url=metadata["jwks_uri"])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps(dict(claims)))
