"""An application with Google's client library: for every line it reads, it asks for an access token anew, and prints it."""

import os
import sys

import google.auth
from google.auth.transport.requests import Request

credentials, _ = google.auth.load_credentials_from_file(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
for line in sys.stdin:
    scope, _seconds_later = line.split()
    credentials = credentials.with_scopes([scope])
    credentials.refresh(Request())
    print(credentials.token, flush=True)
