"""A cluster on this machine to try the chart on: python up.py istio|envoy-gateway|kubernetes

It stays up until it is interrupted. Its commands, registry and certificate are in run/cluster, and `make cluster-shell` enters it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "e2e")]

import namespace  # noqa: E402  (the two directories are those of pytest.ini)
from harness import installed, namespaces  # noqa: E402

HERE = installed.REPOSITORY / "run" / "cluster"
ENTERED = "inside"
ISSUER_HOST = "reissuer.example.com"


def main(arguments: list[str]) -> int:
    if arguments[:1] == [ENTERED]:
        namespace.furnish()
        return serve(arguments[1])
    if subprocess.run(["pgrep", "-f", "[p]ackages/up.py inside"], capture_output=True).returncode == 0:
        print("a cluster is up already: end it first")
        return 1
    if len(arguments) != 1 or arguments[0] not in ("istio", "envoy-gateway", "kubernetes"):
        print(__doc__)
        return 2
    namespaces.preflight(namespace.TOOLS)
    return namespaces.enter([*namespaces.script(__file__), ENTERED, *arguments])


def serve(control_plane: str) -> int:
    import envoy_gateway_world
    import istio_world
    from cluster.world import Cluster
    from known_images import known_images
    from harness.pki import Authority
    from harness.processes import Supervisor
    from registry import HOST, Registry

    HERE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        supervisor = Supervisor(Path(scratch))
        authority = Authority(Path(scratch) / "authority")
        cluster = Cluster(supervisor, known_images(authority, Path(scratch) / "image"))
        try:
            cluster.start()
            digests = Registry(supervisor).start().publish()
            match control_plane:
                case "istio":
                    istio_world.install(cluster, Path(scratch))
                case "envoy-gateway":
                    envoy_gateway_world.install_controller(cluster, Path(scratch))
            service = "jwt-reissuer-gateway.jwt-reissuer.svc.cluster.local"
            certificate, key = authority.issue("gateway", ISSUER_HOST, names=(ISSUER_HOST, service))
            for name, file in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority.certificate)):
                (HERE / name).write_bytes(file.read_bytes())
            programs = HERE / "bin"
            programs.mkdir(exist_ok=True)
            for name, program in (("kubectl", installed.kubectl()), ("helm", installed.package_tool("helm")), ("jwt-reissuer", installed.cli())):
                (programs / name).unlink(missing_ok=True)
                (programs / name).symlink_to(program)
            home = cluster.environment["HOME"]
            (HERE / "env").write_text(
                f"export KUBECONFIG={cluster.kubeconfig} HOME={home} PATH={programs}:$PATH REGISTRY={HOST}\n"
                f"export MODULE_DIGEST={digests['jwt-reissuer-wasm']} COMMAND_DIGEST={digests['jwt-reissuer']}\n"
            )
            print(
                f"\nA cluster with {control_plane} is up. `make cluster-shell` enters it: kubectl, helm and jwt-reissuer are there,\n"
                f"$REGISTRY has our images, by $MODULE_DIGEST and $COMMAND_DIGEST, and run/cluster has tls.crt, tls.key and ca.crt\n"
                f"for {ISSUER_HOST}. Ctrl-C here ends it.", flush=True,
            )
            # A shell that starts this in the background has it ignore Ctrl-C.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            signal.pause()
        except KeyboardInterrupt:
            print("the cluster ends", flush=True)
        finally:
            cluster.stop()
            supervisor.stop()
            shutil.rmtree(HERE, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
