"""One container of a pod, as a process: its root, its mounts, its user, its environment, its probes.

A read-only root and `runAsNonRoot` hold here. Capabilities, seccomp, limits and network policies do not.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

from .images import Image
from .objects import Object

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of the machine, where an image brings no root of its own.
SHARED = ("/proc", "/dev", "/sys", "/tmp")
SECONDS_TO_END = 3.0


class ForbiddenUser(Exception):
    """A container that must not run as root would do so: its pod waits, as with a kubelet."""


class Container:
    """A running container. `root` is a directory on a file system that an overlay may write to."""

    def __init__(
        self, spec: Object, pod_spec: Object, image: Image, *, root: Path, network: str, etc: Path,
        volume: Callable[[str], Path], environment: dict[str, str], log: Path,
    ):
        self.spec, self.name, self.log_path = spec, spec["name"], log
        self._network = network
        security = {**pod_spec.get("securityContext", {}), **spec.get("securityContext", {})}
        user = security.get("runAsUser", image.user)
        if security.get("runAsNonRoot") and user == 0:
            raise ForbiddenUser(f"{self.name} must not run as root")
        group = security.get("runAsGroup", user)
        groups = [str(each) for each in {group, security.get("fsGroup", group)}]
        view, script = root / "root", ["set -e"]
        self._view = view
        if image.root is None:
            for each in ("upper", "work", "root"):
                (root / each).mkdir(parents=True)
            script += [f"mount -t overlay overlay -o lowerdir=/,upperdir={root}/upper,workdir={root}/work {view}"]
            script += [f"mount --rbind {each} {view}{each}" for each in SHARED if each not in ("/proc", "/tmp")]
            # A link to /run would lead out of the view, because mounts are made from outside.
            script += [f"rm -rf {view}/var/run && mkdir {view}/var/run"]
            # An empty /tmp: what the machine has there is not the pod's.
            script += [f"mount -t tmpfs -o mode=1777 tmpfs {view}/tmp"]
        else:
            # Copied, because mount points are made in it; a mount of its own, so that it can be read-only.
            subprocess.run(["cp", "-a", str(image.root), str(view)], check=True)
            script += [f"mount --bind {view} {view}", f"mkdir -p {view}/proc {view}/etc"]
        script += [f"mount -t proc proc {view}/proc"]
        for path, file in image.files.items():
            script += [f"mkdir -p {view}{Path(path).parent}", f"touch {view}{path}", f"mount --bind {file} {view}{path}"]
        for name in ("resolv.conf", "hosts"):
            script += [f"rm -f {view}/etc/{name}", f"touch {view}/etc/{name}", f"mount --bind {etc}/{name} {view}/etc/{name}"]
        for mount in sorted(spec.get("volumeMounts", []), key=lambda each: str(each["mountPath"])):
            source, target = volume(mount["name"]), f"{view}{mount['mountPath'].rstrip('/')}"
            if "subPath" in mount:
                source = source / mount["subPath"]
            make = f"mkdir -p $(dirname {target}) && touch {target}" if source.is_file() else f"mkdir -p {target}"
            script += [make, f"mount --bind {source} {target}"]
            if mount.get("readOnly"):
                script += [f"mount -o remount,bind,ro {target}"]
        if security.get("readOnlyRootFilesystem"):
            script += [f"mount -o remount,ro,bind {view}" if image.root is not None else f"mount -o remount,ro {view}"]
        self._made = root / "made"
        script += [f"touch {self._made}"]
        script += [f'exec chroot --userspec={user}:{group} --groups={",".join(groups)} {view} "$@"']
        command = [*(spec.get("command") or image.entrypoint), *(spec.get("args") or [])]
        self.environment = {"PATH": PATH, "HOME": "/tmp", **environment}
        command = [expand(each, self.environment) for each in command]
        with log.open("ab") as output:
            # A program of another user opens /dev/stdout anew.
            log.chmod(0o666)
            self._process = subprocess.Popen(
                [
                    "ip", "netns", "exec", network, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
                    "sh", "-c", "\n".join(script), "container", *command,
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True,
            )

    @property
    def started(self) -> bool:
        """Whether its root is complete, so that its program runs."""
        return self._made.exists()

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended."""
        return self._process.poll()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def inside(self) -> list[str]:
        """The command that enters this container's namespaces; the program's own follows."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return ["nsenter", "-t", str(self._first()), "-n", "-m", "-p", "chroot", str(self._view), "/usr/bin/env", "-i", *variables]

    def _first(self) -> int:
        """The process that is the first in there."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def passes(self, probe: Object, address: str) -> bool:
        if "exec" in probe:
            return subprocess.run([*self.inside(), *probe["exec"]["command"]], capture_output=True).returncode == 0
        if "tcpSocket" in probe:
            with socket.socket() as connection:
                connection.settimeout(1)
                return connection.connect_ex((address, self._port(probe["tcpSocket"]["port"]))) == 0
        wanted = probe["httpGet"]
        try:
            port = self._port(wanted["port"])
            connection = (
                http.client.HTTPSConnection(address, port, timeout=2, context=ssl._create_unverified_context())
                if wanted.get("scheme") == "HTTPS" else http.client.HTTPConnection(address, port, timeout=2)
            )
            connection.request("GET", wanted.get("path", "/"), headers={each["name"]: each["value"] for each in wanted.get("httpHeaders", [])})
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        return int(next(each["containerPort"] for each in self.spec.get("ports", []) if each.get("name") == port))

    def stop(self, seconds: float = SECONDS_TO_END) -> None:
        """Asks the container's first process to end, then ends the container."""
        if self.code is not None:
            return
        try:
            os.kill(self._first(), signal.SIGTERM)
            self._process.wait(timeout=seconds)
        except (OSError, IndexError, subprocess.TimeoutExpired):
            pass
        self._process.kill()
        self._process.wait()


def expand(value: str, environment: dict[str, str]) -> str:
    """`$(NAME)` in commands and values; an unknown name stays as it is, and `$$(NAME)` is `$(NAME)`."""
    def put(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        return environment.get(found[1], found[0])

    return re.sub(r"\$?\$\(([^)]+)\)", put, value)
