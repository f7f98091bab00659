"""A real Envoy that runs the configuration we ship, moved to loopback ports and to files of the test's own."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import ssl
import time
from pathlib import Path
from typing import Any

import yaml

from . import client, installed, older
from .documents import DocumentServer
from .kubernetes import ApiServer
from .processes import Process, Supervisor, free_port
from .signing_keys import SEALED, seal
from .stand_in import StandInCluster

ISSUER_HOST = "reissuer.example.com"
INTERNAL_HOST = "reissuer.infra.svc.cluster.local"
SHIPPED_FILES = "/etc/jwt-reissuer"
POD_FILES = "/var/run/secrets/kubernetes.io/serviceaccount"
QUIC = "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
START_SECONDS = 30.0
# A busy worker adds up for 50 ms before it tells Envoy what it counted.
SECONDS_TO_COUNT = 0.2


class Gateway:
    """Envoy with the shipped bootstrap. `bootstrap`, `config` and the files may be edited until `start`."""

    def __init__(
        self, supervisor: Supervisor, *, api: ApiServer | StandInCluster | DocumentServer, signing_keys: str, app_port: int | None = None,
        port: int | None = None, sample: Path = installed.SAMPLES / "envoy.yaml",
    ):
        self.supervisor = supervisor
        self.directory = supervisor.directory
        self.port, self.admin_port = port or free_port(), free_port()
        self.log_level = "info"
        self.environment: dict[str, str] = {}
        self.arguments = ["--disable-hot-restart"]
        """Of Envoy, beside those that every test has."""
        self.workers = 2
        self.host = ISSUER_HOST
        self.address = "127.0.0.1"
        """Where its listener is, for its own clients."""
        self.tls: ssl.SSLContext | None = None
        """What its own clients trust, where it ends TLS."""
        self._process: Process | None = None
        self._api = api
        self._listeners = ["gateway"]
        self.sealing_key = os.urandom(32)
        self.environment["REISSUER_SEALING_KEY"] = base64.b64encode(self.sealing_key).decode()
        self._signing_keys = signing_keys
        self._place_files()
        self.bootstrap: dict[str, Any] = self._moved(yaml.safe_load(sample.read_text()))
        older.adapt(self.bootstrap["static_resources"])
        self.bootstrap["admin"]["address"]["socket_address"]["port_value"] = self.admin_port
        self.listener("gateway")["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": self.port}
        self._point("kubernetes", api.port)
        # In clear text on loopback, as behind a load balancer that ends TLS; `serve_tls` goes by what is shipped.
        (filter_chain,) = self.listener("gateway")["filter_chains"]
        self._shipped_tls = filter_chain.pop("transport_socket")
        # A port nobody listens on, where a test has no application.
        self._point("app", app_port or free_port())
        self.config: dict[str, Any] = configuration(self.listener("gateway")) | {"allow_plain_http": True}
        """The filter's own configuration; it goes into the bootstrap at the start."""
        if crypto := os.environ.get("REISSUER_CRYPTO"):
            self.show_environment("REISSUER_CRYPTO", crypto)

    # --- editing, before the start ---

    @property
    def connection_manager(self) -> dict[str, Any]:
        return connection_manager(self.listener("gateway"))

    @property
    def filter(self) -> dict[str, Any]:
        return our_filter(self.listener("gateway"))

    @property
    def virtual_host(self) -> dict[str, Any]:
        hosts = self.connection_manager["route_config"]["virtual_hosts"]
        return next(each for each in hosts if each["name"] == "jwt-reissuer")

    def listener(self, name: str) -> dict[str, Any]:
        return next(each for each in self.bootstrap["static_resources"]["listeners"] if each["name"] == name)

    def cluster(self, name: str) -> dict[str, Any]:
        return next(each for each in self.bootstrap["static_resources"]["clusters"] if each["name"] == name)

    def run_for_all_hosts(self) -> None:
        """The layout of a control plane that cannot enable a filter for one virtual host: it runs for every request."""
        del self.filter["disabled"]
        del self.virtual_host["typed_per_filter_config"]

    def remove_filter(self) -> None:
        """As when the filter is deleted, or lost after a refused update: the routes are what is left."""
        self.connection_manager["http_filters"].remove(self.filter)
        del self.virtual_host["typed_per_filter_config"]

    def share_the_host(self) -> None:
        """The shipped virtual host for a host that is an application's too, with the settings that belong to it."""
        settings, shared = yaml.safe_load_all((installed.SAMPLES / "shared-host.yaml").read_text())
        self.connection_manager.update(settings)
        assert set(shared["domains"]) == set(self.virtual_host["domains"]), "the hosts are those of envoy.yaml"
        hosts = self.connection_manager["route_config"]["virtual_hosts"]
        hosts[hosts.index(self.virtual_host)] = shared
        self.config["shared_host"] = True

    def use_loopback_issuer(self, path: str = "") -> str:
        """An issuer that verifiers can really fetch from: this gateway's own address."""
        self.config["issuer"] = f"http://127.0.0.1:{self.port}{path}"
        self.virtual_host["domains"].append("127.0.0.1")
        self.host = f"127.0.0.1:{self.port}"
        return str(self.config["issuer"])

    def serve_https(self, host: str, address: str, certificate: tuple[Path, Path], authority: Path) -> str:
        """An issuer as the world has them: on port 443 of an address that `host` leads to, by the TLS that is shipped.

        `certificate` is the file with the chain and the one with the key; `authority` vouches for them to this gateway's
        own clients.
        """
        self.port, self.address = 443, address
        self.listener("gateway")["address"]["socket_address"] = {"address": address, "port_value": self.port}
        self.serve_tls(certificate, authority)
        self.host, self.config["issuer"] = host, f"https://{host}"
        if host not in self.virtual_host["domains"]:
            self.virtual_host["domains"] += [host, f"{host}."]
        return str(self.config["issuer"])

    def serve_tls(self, certificate: tuple[Path, Path], authority: Path) -> None:
        """Ends TLS as the shipped configuration does: `certificate` is the file with the chain and the one with the key."""
        (filter_chain,) = self.listener("gateway")["filter_chains"]
        filter_chain["transport_socket"] = self._shipped_tls
        self.config.pop("allow_plain_http", None)
        self.write_certificate(certificate)
        self.place_sds("gateway-certificate")
        self.tls = ssl.create_default_context(cafile=str(authority))

    def serve_in_clear_text(self) -> int:
        """Adds a listener with the same filter that ends no TLS and believes forwarding headers; returns its port."""
        listener = copy.deepcopy(self.listener("gateway"))
        (filter_chain,) = listener["filter_chains"]
        filter_chain.pop("transport_socket", None)
        del connection_manager(listener)["use_remote_address"]
        return self._add_listener_of_ours("in_clear_text", listener)

    def serve_http3(self) -> int:
        """Adds a listener with the same filter for HTTP/3, by the certificate of the other one; returns its UDP port."""
        listener = copy.deepcopy(self.listener("gateway"))
        (filter_chain,) = listener["filter_chains"]
        tls = filter_chain["transport_socket"]["typed_config"]
        del tls["common_tls_context"]["alpn_protocols"]
        filter_chain["transport_socket"] = {"name": "envoy.transport_sockets.quic", "typed_config": {
            "@type": QUIC, "downstream_tls_context": {key: value for key, value in tls.items() if key != "@type"},
        }}
        connection_manager(listener).update(codec_type="HTTP3", http3_protocol_options={})
        listener["udp_listener_config"] = {"quic_options": {}, "downstream_socket_config": {"prefer_gro": False}}
        listener["address"]["socket_address"]["protocol"] = "UDP"
        return self._add_listener_of_ours("http3", listener)

    def _add_listener_of_ours(self, name: str, listener: dict[str, Any]) -> int:
        listener["name"] = name
        port = listener["address"]["socket_address"]["port_value"] = free_port()
        self._listeners.append(name)
        self.bootstrap["static_resources"]["listeners"].append(listener)
        return port

    def write_certificate(self, certificate: tuple[Path, Path]) -> None:
        """Fills the directory with the listener's certificate, before the start."""
        (self.directory / "tls").mkdir(exist_ok=True)
        for name, file in zip(("tls.crt", "tls.key"), certificate):
            replace(self.directory / "tls" / name, file.read_text())

    def read_jwks_with_token(self, token: str) -> None:
        """Merges the shipped fragment for clusters that show nothing without a credential."""
        fragment = self._moved(yaml.safe_load((installed.SAMPLES / "kubernetes-with-token.yaml").read_text()))
        older.adapt(fragment)
        resources = self.bootstrap["static_resources"]
        resources["listeners"] += fragment["listeners"]
        resources["clusters"].remove(self.cluster("kubernetes"))
        resources["clusters"] += fragment["clusters"]
        self._point("kubernetes_api_with_token", self._api.port)
        self.place_sds("kubernetes-token")
        self.write_token(token)

    def use_host_environment(self, value: str) -> None:
        """The signing keys from an environment variable of Envoy, and nothing left of the way by SDS."""
        self.config["signing_keys"]["from"] = {"env": "REISSUER_KEYS"}
        self.show_environment("REISSUER_KEYS", self.sealed(value))
        self.remove_signing_key_cluster()

    def show_environment(self, name: str, value: str) -> None:
        """Gives the filter's VM a variable of Envoy's, beside those that the sample gives it."""
        shown = self.filter["typed_config"]["config"]["vm_config"]["environment_variables"]["host_env_keys"]
        if name not in shown:
            shown.append(name)
        self.environment[name] = value

    def seal_by(self, name: str, value: str | None) -> None:
        """The sealing key in a variable of that name: the value, or what was made here."""
        value = value or self.environment["REISSUER_SEALING_KEY"]
        if name != "REISSUER_SEALING_KEY":
            self.show_environment(name, value)
        self.environment[name] = value
        with contextlib.suppress(ValueError, IndexError):
            # One that is no use is for the filter to refuse.
            self.sealing_key = base64.b64decode(value.split()[0], validate=True)

    def use_plain_signing_keys(self) -> None:
        """No sealing: what comes from the secret is the keyring itself."""
        del self.config["signing_keys"]["sealing_key"]

    def add_listener(self, name: str, http_filter: dict[str, Any]) -> int:
        """Adds a listener that has this filter and answers 200 to what that lets pass; returns its port."""
        port = free_port()
        manager = self.connection_manager
        self.bootstrap["static_resources"]["listeners"].append({
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
                "@type": manager["@type"],
                "stat_prefix": name,
                "route_config": {"virtual_hosts": [{
                    "name": "all", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }]},
                "http_filters": [http_filter, manager["http_filters"][-1]],
            }}]}],
        })
        return port

    def remove_signing_key_cluster(self) -> None:
        resources = self.bootstrap["static_resources"]
        resources["clusters"].remove(self.cluster("signing_keys"))
        resources["listeners"].remove(self.listener("signing_keys"))

    # --- files, before and after the start ---

    def write_signing_keys(self, line: str) -> None:
        """The secret's content, sealed where the configuration says so and it is not yet."""
        self._signing_keys = line
        replace(self.directory / "keys" / "signing-keys", self.sealed(line))

    def sealed(self, line: str) -> str:
        sealed = "sealing_key" in self.config.get("signing_keys", {})
        return seal(line.encode(), self.sealing_key) if sealed and not line.startswith(SEALED) else line

    def write_token(self, token: str) -> None:
        replace(self.directory / "pod" / "token", token)

    # --- running ---

    def write_bootstrap(self) -> Path:
        # What was edited since may have been whether they are sealed.
        self.write_signing_keys(self._signing_keys)
        for listener in self.bootstrap["static_resources"]["listeners"]:
            if listener["name"] in self._listeners:
                configure(listener, self.config)
        path = self.directory / "envoy.json"
        path.write_text(json.dumps(self.bootstrap, indent=1))
        return path

    def start(self) -> "Gateway":
        self.launch().wait_until("ready", lambda: self.admin("/ready").status == 200, START_SECONDS)
        return self

    def launch(self) -> Process:
        """Without waiting for it."""
        path = self.write_bootstrap()
        self._process = self.supervisor.start(
            "envoy",
            [
                str(installed.envoy()), "-c", str(path), "--concurrency", str(self.workers), "--log-level", self.log_level, *self.arguments,
            ],
            self.environment,
        )
        return self._process

    def stop(self) -> None:
        assert self._process is not None
        self._process.stop()

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def log(self) -> str:
        return self.process.log()

    def admin(self, path: str) -> client.Response:
        return client.request(self.admin_port, "GET", path, host="127.0.0.1")

    def counter(self, name: str) -> int:
        """A counter of the filter; 0 while nobody has counted it."""
        stats = self.admin(f"/stats?format=json&filter=wasmcustom.jwt_reissuer.{name.replace('.', '[.]')}$").json()["stats"]
        return sum(each["value"] for each in stats if each.get("name") == f"wasmcustom.jwt_reissuer.{name}")

    def counted_so_far(self, name: str) -> int:
        """A counter that has all that happened until now, where `counter` may lack what a busy worker has not told of yet."""
        self.let_it_count()
        return self.counter(name)

    def let_it_count(self) -> None:
        """Waits until Envoy has been told of all that happened until now."""
        time.sleep(SECONDS_TO_COUNT)

    def request(self, method: str, path: str, *, host: str | None = None, headers: client.Headers = (), body: bytes | None = None) -> client.Response:
        return client.request(
            self.port, method, path, host=host or self.host, headers=headers, body=body, tls=self.tls, address=self.address,
            server_name=self.host,
        )

    def reissue(self, token: str, path: str = "/reissue", headers: client.Headers = ()) -> client.Response:
        return self.request("POST", path, headers=[("Authorization", f"Bearer {token}"), *headers])

    # --- how the shipped files come to the test's directory ---

    def _place_files(self) -> None:
        for name in ("sds", "keys", "pod"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "jwt_reissuer.wasm").symlink_to(installed.module())
        (self.directory / "pod" / "ca.crt").write_bytes(self._api.authority.certificate.read_bytes())
        self.place_sds("signing-keys")
        self.place_sds("cluster-ca")

    def place_sds(self, name: str) -> None:
        content = self._moved(yaml.safe_load((installed.SAMPLES / "sds" / f"{name}.yaml").read_text()))
        replace(self.directory / "sds" / f"{name}.yaml", json.dumps(content))

    def _moved(self, value: Any) -> Any:
        """The same structure with the paths of a deployment turned into those of the test."""
        if isinstance(value, dict):
            return {key: self._moved(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._moved(each) for each in value]
        if isinstance(value, str) and value.startswith("/"):
            for shipped, ours in ((SHIPPED_FILES, self.directory), (POD_FILES, self.directory / "pod")):
                if value == shipped or value.startswith(shipped + "/"):
                    return str(ours) + value[len(shipped):]
        return value

    def _point(self, cluster: str, port: int) -> None:
        found = self.cluster(cluster)
        found["type"] = "STATIC"
        (locality,) = found["load_assignment"]["endpoints"]
        (endpoint,) = locality["lb_endpoints"]
        endpoint["endpoint"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}


def connection_manager(listener: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of a listener."""
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    config: dict[str, Any] = manager["typed_config"]
    return config


def our_filter(listener: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in connection_manager(listener)["http_filters"] if each["name"] == "jwt_reissuer")


def configuration(listener: dict[str, Any]) -> dict[str, Any]:
    """The configuration in a listener that has our filter."""
    content: dict[str, Any] = json.loads(our_filter(listener)["typed_config"]["config"]["configuration"]["value"])
    return content


def configure(listener: dict[str, Any], content: dict[str, Any]) -> None:
    for each in connection_manager(listener)["http_filters"]:
        if each["name"] == "jwt_reissuer":
            each["typed_config"]["config"]["configuration"]["value"] = json.dumps(content)


def replace(path: Path, content: str) -> None:
    """Writes beside and renames, as everything that Envoy watches must be written."""
    unfinished = path.parent.parent / f".{path.name}.{os.getpid()}"
    unfinished.write_text(content)
    unfinished.rename(path)
