"""A node: it runs the pods of the API server as processes, as a kubelet does, and leads Services to them.

Real are the API server, its controllers, and the programs in the pods. This stands for the kubelet, the container runtime, the
scheduler, kube-proxy, the cluster's name server and the cloud's load balancer.
"""

from __future__ import annotations

import base64
import datetime
import itertools
import shutil
import subprocess
import threading
import time
import traceback
from pathlib import Path

import namespace
from harness.kubernetes import ApiServer

from .container import Container, ForbiddenUser, expand
from .dns import NameServer
from .images import Images, UnknownImage
from .objects import Object, get, items, merge, of_pod
from .services import Services
from .volumes import MissingObject, Volumes

NAME = "node-0"
TICK_SECONDS = 0.2
SECONDS_BETWEEN_RENEWALS = 1.0
SECONDS_BETWEEN_PROBES = 0.5
RESTART_SECONDS = 1.0
DOMAIN = "cluster.local"


class Pod:
    """One pod, from the moment it is bound to the node until it has gone."""

    def __init__(self, node: "Node", made: Object):
        self.node, self.made = node, made
        metadata = made["metadata"]
        self.name, self.space, self.uid = metadata["name"], metadata["namespace"], metadata["uid"]
        self.spec: Object = made["spec"]
        number = next(node.numbers)
        self.network, self.address = f"pod-{number}", f"10.0.0.{number}"
        self.directory = node.directory / f"{self.space}.{self.name}.{self.uid[:6]}"
        self.volumes = Volumes(node.api, made, self.directory / "volumes", self.field)
        self.containers: dict[str, Container] = {}
        self.restarts: dict[str, int] = {}
        self.passed: set[str] = set()
        """Init containers that have ended well, or sidecars that have started."""
        self._made_network = False
        self._renewed = self._restarted = 0.0
        self._probes: dict[str, tuple[float, bool]] = {}
        """When each container was last probed, and with what outcome."""
        self._told: Object = {}
        self.phase = "Pending"

    # --- what a pod sees of itself ---

    def field(self, path: str) -> str:
        metadata = self.made["metadata"]
        if path in ("metadata.labels", "metadata.annotations"):
            content = metadata.get(path.split(".")[1], {})
            return "".join(f'{name}="{value}"\n' for name, value in sorted(content.items()))
        for kind in ("labels", "annotations"):
            if path.startswith(f"metadata.{kind}['"):
                return str(metadata.get(kind, {}).get(path[len(f"metadata.{kind}['"):-2], ""))
        known = {
            "metadata.name": self.name, "metadata.namespace": self.space, "metadata.uid": self.uid, "spec.nodeName": NAME,
            "spec.serviceAccountName": self.spec.get("serviceAccountName", "default"), "status.podIP": self.address,
            "status.podIPs": self.address, "status.hostIP": namespace.NODE_ADDRESS,
        }
        return known[path]

    def environment(self, spec: Object) -> dict[str, str]:
        values = {
            "KUBERNETES_SERVICE_HOST": namespace.KUBERNETES_ADDRESS, "KUBERNETES_SERVICE_PORT": "443", "HOSTNAME": self.name,
        }
        for each in spec.get("env") or []:
            if "value" in each or "valueFrom" not in each:
                values[each["name"]] = expand(each.get("value", ""), values)
                continue
            ((kind, wanted),) = each["valueFrom"].items()
            match kind:
                case "fieldRef":
                    values[each["name"]] = self.field(wanted["fieldPath"])
                case "resourceFieldRef":
                    # Two cores, where a container has no limit.
                    values[each["name"]] = "2" if "cpu" in wanted["resource"] else "1073741824"
                case "secretKeyRef" | "configMapKeyRef":
                    value = self._value(kind, wanted)
                    if value is not None:
                        values[each["name"]] = value
        return values

    def _value(self, kind: str, wanted: Object) -> str | None:
        plural = {"secretKeyRef": "secrets", "configMapKeyRef": "configmaps"}[kind]
        found = get(self.node.api, f"/api/v1/namespaces/{self.space}/{plural}/{wanted['name']}")
        value = (found or {}).get("data", {}).get(wanted["key"])
        if value is None:
            if wanted.get("optional"):
                return None
            raise MissingObject(f"{kind} {wanted['name']}/{wanted['key']}")
        return base64.b64decode(value).decode() if kind == "secretKeyRef" else str(value)

    # --- its life ---

    def tick(self) -> None:
        """Brings the pod one step on. Raises MissingObject while it waits for an object."""
        if self.phase in ("Succeeded", "Failed"):
            return
        if not self._made_network:
            self.volumes.make()
            self._make_network()
        elif time.monotonic() - self._renewed > SECONDS_BETWEEN_RENEWALS:
            self.volumes.renew()
            self._renewed = time.monotonic()
        if self._initialized():
            self._run_all()
        self._tell()

    def _make_network(self) -> None:
        number = self.network.removeprefix("pod-")
        for command in (
            f"ip netns add {self.network}", f"ip link add veth{number} type veth peer name eth0 netns {self.network}",
            f"ip link set veth{number} master {namespace.BRIDGE} up", f"ip -n {self.network} link set lo up",
            f"ip -n {self.network} address add {self.address}/24 dev eth0", f"ip -n {self.network} link set eth0 up",
            f"ip -n {self.network} route add default via {namespace.NODE_ADDRESS}",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
        # A container runtime lets every user listen on every port.
        settings = {"net.ipv4.ip_unprivileged_port_start": "0"}
        settings |= {each["name"]: each["value"] for each in self.spec.get("securityContext", {}).get("sysctls") or []}
        for name, value in settings.items():
            path = "/proc/sys/" + name.replace(".", "/")
            subprocess.run(["ip", "netns", "exec", self.network, "sh", "-c", f"echo {value} > {path}"], check=True)
        (self.directory / "resolv.conf").write_text(
            f"nameserver {namespace.DNS_ADDRESS}\nsearch {self.space}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\noptions ndots:5\n"
        )
        (self.directory / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        self._made_network = True

    def _initialized(self) -> bool:
        for spec in self.spec.get("initContainers") or []:
            name = spec["name"]
            if name in self.passed:
                continue
            if name not in self.containers:
                self._start(spec)
            container = self.containers[name]
            if spec.get("restartPolicy") == "Always":
                if "startupProbe" not in spec or container.passes(spec["startupProbe"], self.address):
                    self.passed.add(name)
                    continue
                return False
            if container.code == 0:
                self.passed.add(name)
                continue
            if container.code is not None:
                self._ended(spec, container)
            return False
        return True

    def _run_all(self) -> None:
        sidecars = [each for each in self.spec.get("initContainers") or [] if each.get("restartPolicy") == "Always"]
        for spec in [*sidecars, *self.spec["containers"]]:
            container = self.containers.get(spec["name"])
            if container is None:
                self._start(spec)
            elif container.code is not None:
                self._ended(spec, container)
        codes = [self.containers[each["name"]].code for each in self.spec["containers"]]
        if None not in codes and self.spec.get("restartPolicy") in ("Never", "OnFailure") and self.phase == "Running":
            if not any(codes):
                self._end("Succeeded")
        if self.phase == "Pending" and all(self.containers[each["name"]].started for each in self.spec["containers"]):
            self.phase = "Running"

    def _ended(self, spec: Object, container: Container) -> None:
        policy = spec.get("restartPolicy") or self.spec.get("restartPolicy", "Always")
        if policy == "Never" and container.code:
            self._end("Failed")
        elif policy == "Always" or container.code:
            if time.monotonic() - self._restarted > RESTART_SECONDS:
                self._restarted = time.monotonic()
                self.restarts[spec["name"]] = self.restarts.get(spec["name"], 0) + 1
                self._start(spec)

    def _end(self, phase: str) -> None:
        self.phase = phase
        for container in self.containers.values():
            container.stop()

    def _start(self, spec: Object) -> None:
        # Both may be missing yet, and then nothing is begun.
        image, environment = self.node.images.find(spec["image"]), self.environment(spec)
        root = self.directory / "roots" / f"{spec['name']}-{self.restarts.get(spec['name'], 0)}"
        root.mkdir(parents=True)
        self.containers[spec["name"]] = Container(
            spec, self.spec, image, root=root, network=self.network, etc=self.directory, volume=self.volumes.path,
            environment=environment, log=self.node.logs / f"{self.space}.{self.name}.{spec['name']}.log",
        )

    def ready(self, spec: Object) -> bool:
        container = self.containers.get(spec["name"])
        if container is None or container.code is not None or not container.started:
            return False
        if "readinessProbe" not in spec:
            return True
        probed, outcome = self._probes.get(spec["name"], (0.0, False))
        if time.monotonic() - probed > SECONDS_BETWEEN_PROBES:
            outcome = container.passes(spec["readinessProbe"], self.address)
            self._probes[spec["name"]] = time.monotonic(), outcome
        return outcome

    def _tell(self) -> None:
        """Writes the pod's status, where it is another than before."""
        running = self.phase == "Running"
        readiness = {each["name"]: running and self.ready(each) for each in self.spec["containers"]}
        statuses = []
        for spec in self.spec["containers"]:
            container = self.containers.get(spec["name"])
            state: Object = {"waiting": {"reason": "PodInitializing"}}
            if container is not None:
                state = {"running": {}} if container.code is None else {"terminated": {"exitCode": container.code}}
            statuses.append({
                "name": spec["name"], "image": spec["image"], "imageID": "", "ready": readiness[spec["name"]], "state": state,
                "restartCount": self.restarts.get(spec["name"], 0), "started": container is not None,
            })
        all_ready = str(all(readiness.values()))
        done = self.phase in ("Succeeded", "Failed")
        conditions = [
            {"type": kind, "status": value} for kind, value in (
                ("PodScheduled", "True"), ("Initialized", "True" if running or done else "False"), ("ContainersReady", all_ready),
                ("Ready", all_ready),
            )
        ]
        status: Object = {
            "phase": self.phase, "podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": namespace.NODE_ADDRESS,
            "conditions": conditions, "containerStatuses": statuses,
        }
        if status != self._told:
            self._told = status
            began = {"startTime": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
            merge(self.node.api, of_pod(self.made) + "/status", {"status": {**status, **began}})

    def stop(self) -> None:
        for container in reversed(list(self.containers.values())):
            container.stop()
        if self._made_network:
            # The ends of its connections are on their way, and would be lost with the network.
            time.sleep(0.2)
            subprocess.run(["ip", "netns", "delete", self.network], capture_output=True)
        shutil.rmtree(self.directory / "roots", ignore_errors=True)


class Node:
    """Started once; `stop` ends all its pods."""

    def __init__(self, api: ApiServer, directory: Path, logs: Path, images: Images):
        self.api, self.directory, self.logs, self.images = api, directory, logs, images
        logs.mkdir(parents=True, exist_ok=True)
        self.numbers = itertools.count(10)
        self.pods: dict[str, Pod] = {}
        self.services = Services(api)
        self.names: dict[str, str] = {}
        """Names beside the cluster's own, with their addresses."""
        self.waiting: dict[str, str] = {}
        """Why a pod does not start, by its name."""
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> "Node":
        # Overlays need a file system that takes their attributes.
        self.directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(self.directory)], check=True)
        self.api.create("/api/v1/nodes", {
            "metadata": {"name": NAME, "labels": {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        })
        merge(self.api, f"/api/v1/nodes/{NAME}/status", {"status": {
            "addresses": [{"type": "InternalIP", "address": namespace.NODE_ADDRESS}], "conditions": [{"type": "Ready", "status": "True"}],
        }})
        NameServer(namespace.DNS_ADDRESS, self.addresses)
        for work in (self._run_pods, self.services.update):
            thread = threading.Thread(target=self._repeat, args=(work,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for pod in self.pods.values():
            pod.stop()
        subprocess.run(["umount", "--lazy", str(self.directory)], check=True)

    def addresses(self, name: str) -> list[str] | None:
        """Of a name that a pod asks for; None where there is no such name."""
        if name in self.names:
            return [self.names[name]]
        return self.services.addresses.get(name)

    def pod(self, name: str) -> Pod:
        """The running pod whose name begins so."""
        return next(each for each in list(self.pods.values()) if each.name.startswith(name))

    def log(self) -> str:
        return (self.logs / "node.log").read_text() if (self.logs / "node.log").exists() else ""

    def _repeat(self, work) -> None:  # type: ignore[no-untyped-def]
        while not self._stopped.wait(TICK_SECONDS):
            try:
                work()
            except Exception:  # A request that fails while the API server restarts ends no node.
                self._note()

    def _run_pods(self) -> None:
        there = {each["metadata"]["uid"]: each for each in items(self.api, "/api/v1/pods")}
        for uid, made in there.items():
            if not made["spec"].get("nodeName"):
                self.api.admin("POST", of_pod(made) + "/binding", {
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": made["metadata"]["name"]},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
                })
            elif "deletionTimestamp" in made["metadata"]:
                if uid in self.pods:
                    self.pods.pop(uid).stop()
                self.api.admin("DELETE", of_pod(made) + "?gracePeriodSeconds=0")
            elif uid not in self.pods and made.get("status", {}).get("phase") in (None, "Pending"):
                self.pods[uid] = Pod(self, made)
        for uid, pod in list(self.pods.items()):
            if uid not in there:
                self.pods.pop(uid).stop()
                continue
            pod.directory.mkdir(parents=True, exist_ok=True)
            try:
                pod.tick()
                self.waiting.pop(pod.name, None)
            except (MissingObject, UnknownImage, ForbiddenUser) as error:
                self.waiting[pod.name] = str(error)
            except Exception:  # One pod does not hold up the others.
                self._note()

    def _note(self) -> None:
        with (self.logs / "node.log").open("a") as log:
            log.write(traceback.format_exc())

    def running(self, prefix: str) -> list[Pod]:
        """The pods whose names begin so, and whose programs run."""
        return [each for each in list(self.pods.values()) if each.name.startswith(prefix) and each.phase == "Running"]
