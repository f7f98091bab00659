"""Runs pytest in namespaces of its own, with a bridge for the pods and the addresses of the cluster's services.

    python namespace.py [pytest arguments]
    python namespace.py preflight

Control planes bind wildcard addresses and fixed ports, and pods have addresses of their own, so nothing here may run in the machine's
own network. `preflight` only says whether this machine has what is needed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from harness import namespaces  # noqa: E402  (the harness lies in another directory)

BRIDGE, BRIDGE_ADDRESS = "pods", "02:00:0a:00:00:01"
NODE_ADDRESS = "10.0.0.1"
KUBERNETES_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
ENTERED, PREFLIGHT = "inside", "preflight"
# Programs that the tests call, with their Debian packages.
TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "mount": "mount", "ip": "iproute2", "curl": "curl"}


def main(arguments: list[str]) -> int:
    if arguments[:1] == [ENTERED]:
        furnish()
        import pytest

        return int(pytest.main(arguments[1:]))
    namespaces.preflight(TOOLS)
    if arguments == [PREFLIGHT]:
        return 0
    return namespaces.enter([*namespaces.script(__file__), ENTERED, *arguments])


def furnish() -> None:
    namespaces.add_addresses([KUBERNETES_ADDRESS, DNS_ADDRESS])
    # With an address of its own: a bridge without one takes another whenever a pod comes or goes, and running pods lose their way to it.
    namespaces.run("ip", "link", "add", BRIDGE, "address", BRIDGE_ADDRESS, "type", "bridge")
    namespaces.run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    namespaces.run("ip", "link", "set", BRIDGE, "up")
    # `ip netns` keeps its names there, and they are for this run alone.
    Path("/run/netns").mkdir(exist_ok=True)
    namespaces.run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    namespaces.replace_hosts({})
    # The programs of the tests ask the cluster's name server, as its pods do.
    with tempfile.NamedTemporaryFile("w", suffix="-resolv.conf") as file:
        file.write(f"nameserver {DNS_ADDRESS}\n")
        file.flush()
        Path(file.name).chmod(0o644)
        namespaces.run("mount", "--bind", file.name, "/etc/resolv.conf")
    namespaces.forget_proxies()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
