"""A real kube-apiserver with its etcd: namespaces, service accounts, pods and tokens as a cluster has them."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from . import client, installed
from .pki import Authority, private_pem, public_pem
from .processes import Process, Supervisor, eventually, free_port

ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVER_NAME = "kubernetes.default.svc"
READY_SECONDS = 60.0


@dataclass
class ApiServer:
    """One cluster's API server. It may be stopped and started again on the same port and the same data."""

    supervisor: Supervisor
    anonymous: bool = True
    issuer: str = ISSUER
    port: int = field(default_factory=free_port)
    extra_arguments: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """Those of a cluster that has a network: the API server listens on all, and tells the first to its Service's clients."""

    def __post_init__(self) -> None:
        directory = self.supervisor.directory
        self.authority = Authority(directory / "pki")
        names = (SERVER_NAME, "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", *self.addresses)
        self._certificate = self.authority.issue("apiserver", "kube-apiserver", names=names)
        admin = self.authority.issue("admin", "admin", organization="system:masters")
        self._admin = ssl.create_default_context(cafile=str(self.authority.certificate))
        self._admin.load_cert_chain(*map(str, admin))
        self._public_paths: list[Path] = []
        self._new_service_account_key()
        self._etcd_port, self._etcd_peer_port = free_port(), free_port()
        self._etcd: Process | None = None
        self._server: Process | None = None

    def start(self) -> "ApiServer":
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Starts the processes without waiting for them."""
        if self._etcd is None or not self._etcd.running():
            self._etcd = self.supervisor.start("etcd", self._etcd_command())
        self._server = self.supervisor.start("kube-apiserver", self._command())

    def wait_until_ready(self) -> None:
        assert self._server is not None
        self._server.wait_until("ready", lambda: self.admin("GET", "/readyz").status == 200, READY_SECONDS)
        # The roles that the server makes for itself come a moment after it calls itself ready.
        role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:service-account-issuer-discovery"
        self._server.wait_until("roles made", lambda: self.admin("GET", role).status == 200, READY_SECONDS)

    def stop(self) -> None:
        """Stops the API server alone; what it stored stays."""
        assert self._server is not None
        self._server.stop()

    def rotate_service_account_key(self) -> None:
        """Restarts the API server with a new key that signs; it goes on publishing, and accepting, the old one beside it."""
        self.stop()
        self._new_service_account_key()
        self.start()

    def forget_former_service_account_keys(self) -> None:
        """Restarts the API server with the key that signs, and no other."""
        self.stop()
        del self._public_paths[:-1]
        self.start()

    def _new_service_account_key(self) -> None:
        number = len(list((self.supervisor.directory / "pki").glob("service-account-*.key")))
        self.service_account_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_path = self.supervisor.directory / "pki" / f"service-account-{number}.key"
        self._key_path.write_bytes(private_pem(self.service_account_key))
        self._public_paths.append(self._key_path.with_suffix(".pub"))
        self._public_paths[-1].write_bytes(public_pem(self.service_account_key))

    def admin(self, method: str, path: str, content: Any = None, content_type: str = "application/json") -> client.Response:
        """A request with the rights of a cluster administrator."""
        headers = [("Accept", "application/json")]
        body = None
        if content is not None:
            headers.append(("Content-Type", content_type))
            body = json.dumps(content).encode()
        return client.request(self.port, method, path, host=SERVER_NAME, headers=headers, body=body, tls=self._admin)

    def anonymous_get(self, path: str) -> client.Response:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        return client.request(self.port, "GET", path, host=SERVER_NAME, tls=context)

    def trust_issuer(self, url: str, audience: str, authority: Path, username_prefix: str = "") -> None:
        """Before the start: has the server take tokens of another issuer, whose `sub` is then a user's name."""
        issuer = {"url": url, "audiences": [audience], "certificateAuthority": authority.read_text()}
        username = {"claim": "sub", "prefix": username_prefix}
        file = self.supervisor.directory / "authentication.json"
        file.write_text(json.dumps({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{"issuer": issuer, "claimMappings": {"username": username}}],
        }))
        self.extra_arguments = (*self.extra_arguments, "--authentication-config", str(file))

    def who_is(self, token: str) -> client.Response:
        """Asks the server whom it takes the bearer of this token for (`kubectl auth whoami`)."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        headers = [("Authorization", f"Bearer {token}"), ("Accept", "application/json"), ("Content-Type", "application/json")]
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        return client.request(self.port, "POST", path, host=SERVER_NAME, headers=headers, body=body, tls=context)

    def create(self, path: str, content: Any) -> Any:
        """Creates an object, or returns the one that is there."""
        # Strict: a misspelled field is an error, not something to be dropped in silence.
        answer = self.admin("POST", f"{path}?fieldValidation=Strict", content)
        if answer.status == 409:
            answer = self.admin("GET", f"{path}/{content['metadata']['name']}")
        assert answer.status in (200, 201), f"POST {path}: {answer.status} {answer.text()}"
        return answer.json()

    def apply(self, manifest: Path) -> list[Any]:
        """Creates the objects of a manifest file; returns them as the server made them."""
        return [self.apply_object(document) for document in yaml.safe_load_all(manifest.read_text())]

    def apply_object(self, content: Any) -> Any:
        paths = {
            "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
            "Pod": "/api/v1/namespaces/{namespace}/pods",
        }
        return self.create(paths[content["kind"]].format(namespace=content["metadata"].get("namespace")), content)

    def create_pod(self, namespace: str, service_account: str, pod: str) -> dict[str, str]:
        """A namespace, a service account in it and a pod that runs as it; the reference that binds a token to the pod."""
        self.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        self.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": service_account}})
        # No kubelet runs it: the object is enough for a token to be bound to.
        container = {"name": "app", "image": "app.example/app:1"}
        made = self.create(
            f"/api/v1/namespaces/{namespace}/pods",
            {"metadata": {"name": pod}, "spec": {"serviceAccountName": service_account, "containers": [container]}},
        )
        return {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": made["metadata"]["uid"]}

    def delete_pod(self, namespace: str, pod: str) -> None:
        """At once, since no kubelet will say that it has ended; no error where there is none."""
        answer = self.admin("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod}?gracePeriodSeconds=0")
        assert answer.status in (200, 404), f"DELETE pod {pod}: {answer.status} {answer.text()}"

    def token(
        self, namespace: str, service_account: str, audiences: list[str], *,
        pod: dict[str, str] | None = None, seconds: int = 3600,
    ) -> str:
        """A token as the kubelet gets it for a pod: TokenRequest, bound to the pod if one is given."""
        spec: dict[str, Any] = {"audiences": audiences, "expirationSeconds": seconds}
        if pod is not None:
            spec["boundObjectRef"] = pod
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        answer = self.admin("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
        assert answer.status == 201, f"TokenRequest: {answer.status} {answer.text()}"
        return str(answer.json()["status"]["token"])

    def wait_until_jwks_is_public(self) -> None:
        """RBAC learns of a new binding by a watch, a moment after it was made."""
        eventually("anonymous read of the JWKS", lambda: self.anonymous_get("/openid/v1/jwks").status == 200)

    def _etcd_command(self) -> list[str]:
        clients, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        return [
            str(installed.kubernetes("etcd")),
            "--data-dir", str(self.supervisor.directory / "etcd"),
            "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}",
            "--unsafe-no-fsync",
        ]

    def _command(self) -> list[str]:
        certificate, key = self._certificate
        return [
            str(installed.kubernetes("kube-apiserver")),
            "--etcd-servers", f"http://127.0.0.1:{self._etcd_port}",
            "--secure-port", str(self.port), *self._network(),
            "--tls-cert-file", str(certificate), "--tls-private-key-file", str(key),
            "--client-ca-file", str(self.authority.certificate),
            "--service-account-issuer", self.issuer, "--api-audiences", self.issuer,
            *(f"--service-account-key-file={path}" for path in self._public_paths),
            "--service-account-signing-key-file", str(self._key_path),
            "--authorization-mode", "RBAC", f"--anonymous-auth={str(self.anonymous).lower()}",
            "--service-cluster-ip-range", "10.96.0.0/24",
            *self.extra_arguments,
        ]

    def _network(self) -> list[str]:
        if self.addresses:
            return ["--bind-address", "0.0.0.0", "--advertise-address", self.addresses[0]]
        return [
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none",
            # The pods here have no token volume to be filled, and no controller makes each namespace's default service account.
            "--disable-admission-plugins", "ServiceAccount",
        ]
