"""An application with Azure's client library: for every line it reads, it asks for an access token, and prints it.

A line is a scope, and by how many seconds the clock of this program is to be ahead.
"""

import sys
import time

from azure.identity import WorkloadIdentityCredential

now = time.time
credential = WorkloadIdentityCredential()
for line in sys.stdin:
    scope, seconds_later = line.split()
    time.time = lambda: now() + float(seconds_later)
    print(credential.get_token(scope).token, flush=True)
