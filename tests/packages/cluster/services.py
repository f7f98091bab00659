"""The part of kube-proxy and of a cloud: each address and port leads to a ready pod, and load balancers have an address."""

from __future__ import annotations

import asyncio
import random
import subprocess
import threading
from dataclasses import dataclass, field

from harness.kubernetes import ApiServer

from .objects import Object, items, merge

Target = tuple[str, int]
NO_ADDRESS = (None, "", "None")


@dataclass
class Services:
    """Keeps its listeners in step with the API server's Services and EndpointSlices, whenever `update` is called."""

    api: ApiServer
    addresses: dict[str, list[str]] = field(default_factory=dict)
    """Of every Service, by its full name in the cluster's domain."""

    def __post_init__(self) -> None:
        self._targets: dict[Target, list[Target]] = {}
        self._listening: set[Target] = set()
        self._taken: set[str] = set()
        self._public: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def update(self) -> None:
        ready: dict[tuple[str, str], list[Object]] = {}
        for each in items(self.api, "/apis/discovery.k8s.io/v1/endpointslices"):
            service = each["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
            ready.setdefault((each["metadata"]["namespace"], service), []).append(each)
        targets: dict[Target, list[Target]] = {}
        addresses: dict[str, list[str]] = {}
        for service in items(self.api, "/api/v1/services"):
            namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
            slices = ready.get((namespace, name), [])
            address = service["spec"].get("clusterIP")
            addresses[f"{name}.{namespace}.svc.cluster.local"] = (
                [each for one in slices for each in addresses_of(one)] if address in NO_ADDRESS else [address]
            )
            if address in NO_ADDRESS:
                continue
            for port in service["spec"].get("ports", []):
                ready_targets = [each for one in slices for each in targets_of(one, port.get("name", ""))]
                for each in (address, self._public_address(service)):
                    if each is not None:
                        targets[each, port["port"]] = ready_targets
        self._targets, self.addresses = targets, addresses
        for target in targets.keys() - self._listening:
            self._listen(target)

    def _public_address(self, service: Object) -> str | None:
        """Of a Service of type LoadBalancer, an address that is reserved for documentation (RFC 5737) and not private."""
        if service["spec"].get("type") != "LoadBalancer":
            return None
        metadata = service["metadata"]
        if metadata["uid"] not in self._public:
            self._public[metadata["uid"]] = f"192.0.2.{10 + len(self._public)}"
            path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
            merge(self.api, path, {"status": {"loadBalancer": {"ingress": [{"ip": self._public[metadata["uid"]]}]}}})
        return self._public[metadata["uid"]]

    def _listen(self, target: Target) -> None:
        address, _ = target
        if address not in self._taken:
            # That of the API server's Service is there from the beginning.
            subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
            self._taken.add(address)
        self._listening.add(target)

        async def serve() -> None:
            await asyncio.start_server(lambda reader, writer: self._forward(target, reader, writer), *target)

        asyncio.run_coroutine_threadsafe(serve(), self._loop).result(10)

    async def _forward(self, service: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        candidates = self._targets.get(service, [])
        try:
            if candidates:
                inward, outward = await asyncio.open_connection(*random.choice(candidates))
                await asyncio.gather(copy(reader, outward), copy(inward, writer))
        except OSError:
            pass
        finally:
            writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


def addresses_of(endpoint_slice: Object) -> list[str]:
    endpoints = endpoint_slice.get("endpoints") or []
    return [address for each in endpoints if each.get("conditions", {}).get("ready", True) for address in each["addresses"]]


def targets_of(endpoint_slice: Object, port_name: str) -> list[Target]:
    ports = [each["port"] for each in endpoint_slice.get("ports") or [] if each.get("name", "") == port_name]
    return [(address, port) for address in addresses_of(endpoint_slice) for port in ports]
