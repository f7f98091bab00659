"""Runs pytest where the issuer is served as the world knows one: on port 443 of a host name, by an address that is not private.

    python namespace.py [pytest arguments]
    python namespace.py preflight

STS refuses an issuer on any other port and on loopback addresses, so all servers of these tests run in namespaces of their own.
`preflight` only says whether this machine has what is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from harness import namespaces  # noqa: E402  (the harness lies in another directory)

# Addresses that are reserved for documentation (RFC 5737): nobody's, and yet not private ones.
HOSTS = {
    "reissuer.example.com": "192.0.2.10",
    "jwt-reissuer.example.com": "192.0.2.11",
    "rotating.example.com": "192.0.2.12",
    "another.example.com": "192.0.2.13",
    # Stand-ins answer on these (stand_in_clouds.py): the clients have the names built in.
    "sts.googleapis.com": "192.0.2.21",
    "login.microsoftonline.com": "192.0.2.22",
}
ENTERED, PREFLIGHT = "inside", "preflight"
# What the tests and the pages that they run call, with Debian's packages that have it.
TOOLS = {
    "unshare": "util-linux", "setpriv": "util-linux", "mount": "mount", "ip": "iproute2", "bash": "bash", "curl": "curl",
    "openssl": "openssl", "sed": "sed", "awk": "mawk",
}


def main(arguments: list[str]) -> int:
    if arguments[:1] == [ENTERED]:
        namespaces.add_addresses(HOSTS.values())
        namespaces.replace_hosts(HOSTS)
        namespaces.forget_proxies()
        import pytest

        return int(pytest.main(arguments[1:]))
    namespaces.preflight(TOOLS)
    if arguments == [PREFLIGHT]:
        return 0
    return namespaces.enter([*namespaces.script(__file__), ENTERED, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
