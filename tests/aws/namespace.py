"""Runs pytest where the issuer is served as the world knows one: on port 443 of a host name, by an address that is not private.

    python namespace.py [pytest arguments]

STS refuses an issuer on any other port and on loopback addresses, so all servers of these tests run in a network and mount
namespace of their own: nothing leaves it, no port clashes, and the machine's own hosts file is left as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Addresses that are reserved for documentation (RFC 5737): nobody's, and yet not private ones.
HOSTS = {
    "reissuer.example.com": "192.0.2.10",
    "jwt-reissuer.example.com": "192.0.2.11",
    "rotating.example.com": "192.0.2.12",
    # Stand-ins answer on these (stand_in_clouds.py): the clients have the names built in.
    "sts.googleapis.com": "192.0.2.21",
    "login.microsoftonline.com": "192.0.2.22",
}
ENTERED = "inside"
TOOLS = {"unshare": "util-linux", "mount": "util-linux", "ip": "iproute2"}
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def main(arguments: list[str]) -> int:
    if arguments[:1] == [ENTERED]:
        furnish()
        import pytest

        return int(pytest.main(arguments[1:]))
    enter(arguments)


def enter(arguments: list[str]) -> None:
    """Starts this program again, in namespaces of its own."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        sys.exit(f"error: these tests need {' and '.join(sorted(missing))} (Debian, Ubuntu: apt-get install {' '.join(sorted(missing))})")
    # Somebody who is not root becomes root of a user namespace, where the kernel lets them.
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--mount", "--propagation", "private"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        sys.exit(
            "error: these tests need a network and a mount namespace of their own, and this machine gives none:\n"
            f"    {' '.join(unshare)}: {probe.stderr.strip()}\n"
            "run them as root with CAP_SYS_ADMIN (in a container: --privileged), or allow user namespaces\n"
            "(sysctl kernel.unprivileged_userns_clone=1, and kernel.apparmor_restrict_unprivileged_userns=0 where there is one)"
        )
    sys.stdout.flush()
    os.execvp("unshare", [*unshare, sys.executable, str(Path(__file__).resolve()), ENTERED, *arguments])


def furnish() -> None:
    """Addresses on the namespace's only interface, and a hosts file that leads to them."""
    run("ip", "link", "set", "lo", "up")
    for address in HOSTS.values():
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{address} {host}" for host, address in HOSTS.items())]
    with tempfile.NamedTemporaryFile("w", suffix="-hosts") as hosts:
        hosts.write("".join(f"{line}\n" for line in lines))
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        # The mount holds the file; its own name may go.
        run("mount", "--bind", hosts.name, "/etc/hosts")
    # A proxy of this machine is out of reach here, and has no part in this.
    for name in PROXY_VARIABLES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


def run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(f"error: {' '.join(command)}: {answer.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
