"""Runs a program in network, mount and process namespaces of its own.

Nothing leaves them, no port clashes with the machine's, and no server outlives the run, however it ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def unshare() -> list[str]:
    # A user other than root becomes root of a user namespace, where the kernel permits it.
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]


def preflight(tools: dict[str, str]) -> None:
    """Ends the program with the tools that are missing and the Debian packages that have them."""
    missing = {tool: package for tool, package in tools.items() if shutil.which(tool) is None}
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


def enter(command: list[str]) -> int:
    """Runs the command in namespaces of its own; returns its exit code."""
    sys.stdout.flush()
    # A user who is root only in there keeps the name: files in /tmp belong to that name.
    environment = {**os.environ, "LOGNAME": pwd.getpwuid(os.getuid()).pw_name}
    # The first process in there ends when unshare does, and all others with it; unshare ends when this one does.
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *unshare(), *command], env=environment)
    # unshare does not hear SIGTERM while it waits, so it is not handed on.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: process.kill())
    # Ctrl-C goes to the whole group: pytest hears it, stops its servers and ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = process.wait()
    return code if code >= 0 else 128 - code


def add_addresses(addresses: Iterable[str]) -> None:
    """Puts addresses on the loopback interface, which is up afterwards."""
    run("ip", "link", "set", "lo", "up")
    for address in addresses:
        run("ip", "address", "add", f"{address}/32", "dev", "lo")


def replace_hosts(hosts: dict[str, str]) -> None:
    """Has these names lead to these addresses, and no other name anywhere."""
    lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{address} {host}" for host, address in hosts.items())]
    with tempfile.NamedTemporaryFile("w", suffix="-hosts") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.chmod(file.name, 0o644)
        if os.stat("/etc/hosts").st_nlink == 0:
            # That of a run in which this one runs. Nothing can be mounted on a file that has no name any more.
            run("umount", "/etc/hosts")
        # The mount holds the file; its own name may go.
        run("mount", "--bind", file.name, "/etc/hosts")


def forget_proxies() -> None:
    """A proxy of this machine is out of reach in here, and has no part in the tests."""
    for name in PROXY_VARIABLES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


def run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(f"error: {' '.join(command)}: {answer.stderr.strip()}")


def script(file: str) -> list[str]:
    """The command that runs a Python file with this interpreter."""
    return [sys.executable, str(Path(file).resolve())]
