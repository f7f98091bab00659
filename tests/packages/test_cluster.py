"""The cluster itself: a Deployment runs, has an address by its Service's name, and sees its Secret."""

from __future__ import annotations

from cluster.world import Cluster
from harness.processes import eventually

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = open("/secret/word").read() if self.path == "/word" else os.environ["POD_NAME"]
        self.send_response(200); self.end_headers(); self.wfile.write(content.encode())
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


def test_a_deployment_is_reached_by_its_service(cluster: Cluster) -> None:
    cluster.create_namespace("shop")
    labels = {"app": "shop"}
    container = {
        "name": "server", "image": "curlimages/curl:8", "command": ["/usr/bin/env", "python3", "-c", SERVER],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}}, "volumeMounts": [{"name": "secret", "mountPath": "/secret"}],
    }
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"word": "first"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "containers": [container], "volumes": [{"name": "secret", "secret": {"secretName": "word"}}],
            }},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {
            "selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        }},
        namespace="shop",
    )
    cluster.wait_for("shop", namespace="shop")
    pod = cluster.node.pod("shop")
    inside = pod.containers["server"].inside()

    def ask(path: str) -> str:
        return cluster.run(*inside, "curl", "-sS", "--max-time", "3", f"http://shop.shop.svc.cluster.local{path}")

    eventually("the Service leads to the pod", lambda: ask("/") == pod.name)
    assert ask("/word") == "first"
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"word": "second"}}, namespace="shop")
    eventually("the pod sees the new Secret", lambda: ask("/word") == "second")
