"""Stand-ins for the images that the pods of these tests name."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from cluster.images import Image, unpacked
from harness import installed
from harness.pki import Authority

IMAGES = installed.REPOSITORY / "build" / "image"
VERSION = "0.2.0"


def known_images(authority: Authority, directory: Path) -> dict[str, Image]:
    """A stand-in for each image, with ours unpacked into a directory."""
    envoy = installed.envoy()
    # To the programs of the pods our authority is a public one.
    roots = {"/etc/ssl/certs/ca-certificates.crt": authority.certificate}
    known = {
        "/jwt-reissuer:": unpacked(IMAGES, f"jwt-reissuer:{VERSION}", "amd64", directory),
        # That of the pods that tests ask tokens for.
        "app.example/app": Image(("sleep", "infinity")),
        "curlimages/curl": Image(("curl",), roots),
        "amazon/aws-cli": Image(("aws",), {**roots, "/usr/local/bin/aws": Path(sys.executable).parent / "aws"}),
        "kubectl": Image(("/bin/kubectl",), {"/bin/kubectl": installed.kubectl()}, user=65532),
        "envoyproxy/envoy": Image(("/usr/local/bin/envoy",), {"/usr/local/bin/envoy": envoy}, user=65532),
    }
    # A control plane that is not installed has no tests in this run.
    with contextlib.suppress(FileNotFoundError):
        agent = {
            "/usr/local/bin/pilot-agent": installed.istio("pilot-agent"), "/usr/local/bin/envoy": envoy,
            "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": installed.istio("envoy_bootstrap.json"),
        }
        pilot = {"/usr/local/bin/pilot-discovery": installed.istio("pilot-discovery")}
        known["pilot"] = Image(("/usr/local/bin/pilot-discovery",), pilot, user=1337)
        known["proxyv2"] = Image(("/usr/local/bin/pilot-agent",), agent, user=1337)
    with contextlib.suppress(FileNotFoundError):
        controller = {"/usr/local/bin/envoy-gateway": installed.envoy_gateway("envoy-gateway")}
        known["envoyproxy/gateway"] = Image(("/usr/local/bin/envoy-gateway",), controller, user=65532)
    return known
