"""Runs pytest where the issuer is served as the world knows one: on port 443 of a host name, by an address that is not private.

    python namespace.py [pytest arguments]
    python namespace.py preflight

STS refuses an issuer on any other port and on loopback addresses, so all servers of these tests run in network, mount and
process namespaces of their own: nothing leaves them, no port clashes, the machine's own hosts file is left as it is, and no
server outlives the run, however that ends. `preflight` only says whether this machine has what is needed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

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
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def main(arguments: list[str]) -> int:
    if arguments[:1] == [ENTERED]:
        furnish()
        import pytest

        return int(pytest.main(arguments[1:]))
    preflight()
    if arguments == [PREFLIGHT]:
        return 0
    return enter(arguments)


def unshare() -> list[str]:
    # Somebody who is not root becomes root of a user namespace, where the kernel lets them.
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]


def preflight() -> None:
    """Ends the program with what is missing here and how to get it."""
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        sys.exit(f"error: these tests need {', '.join(missing)} (Debian, Ubuntu: apt-get install {packages})")
    probe = subprocess.run([*unshare(), "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        sys.exit(
            "error: these tests need namespaces of their own, and this machine gives none:\n"
            f"    {' '.join(unshare())}: {probe.stderr.strip()}\n"
            "run them as root with CAP_SYS_ADMIN (in a container: --privileged), or allow user namespaces\n"
            "(sysctl kernel.unprivileged_userns_clone=1, and kernel.apparmor_restrict_unprivileged_userns=0 where there is one)"
        )


def enter(arguments: list[str]) -> int:
    """Starts this program again, in namespaces of its own; returns its exit code."""
    sys.stdout.flush()
    # Who is root only in there keeps their name: what belongs to a user's name in /tmp belongs to them.
    environment = {**os.environ, "LOGNAME": pwd.getpwuid(os.getuid()).pw_name}
    # The first process in there ends when unshare does, and all others with it; unshare ends when this one does.
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *unshare(), sys.executable, str(Path(__file__).resolve()), ENTERED, *arguments],
        env=environment,
    )
    # unshare does not hear SIGTERM while it waits, so it is not handed on.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: process.kill())
    # Ctrl-C goes to the whole group: pytest hears it, stops its servers and ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = process.wait()
    return code if code >= 0 else 128 - code


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
        if os.stat("/etc/hosts").st_nlink == 0:
            # That of a run in which this one runs. Nothing can be mounted on a file that has no name any more.
            run("umount", "/etc/hosts")
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
