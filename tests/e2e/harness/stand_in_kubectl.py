"""A stand-in for kubectl and the cluster behind it, of which one Secret is a file: python stand_in_kubectl.py FILE ARGUMENTS

FILE is what a kubelet has mounted for the gateway, so `apply` and its way to the gateway are one step. It knows the three commands
by which an operator reads a Secret, makes one of a file and applies it. Every other command is an error.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

NAMESPACE, NAME, KEY = "istio-ingress", "jwt-reissuer-signing-keys", "signing-keys"


def main(mounted: Path, arguments: list[str]) -> None:
    match arguments:
        case ["-n", namespace, "get", "secret", name, "-o", path] if (namespace, name, path) == (NAMESPACE, NAME, f"jsonpath={{.data.{KEY}}}"):
            print(base64.b64encode(mounted.read_bytes()).decode(), end="")
        case ["-n", namespace, "create", "secret", "generic", name, source, "--dry-run=client", "-o", "yaml"] if source.startswith("--from-file="):
            path = Path(source.removeprefix("--from-file="))
            data = {path.name: base64.b64encode(path.read_bytes()).decode()}
            # JSON is YAML.
            print(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}))
        case ["apply", "-f", "-"]:
            secret = json.load(sys.stdin)
            assert secret["metadata"] == {"name": NAME, "namespace": NAMESPACE}, secret["metadata"]
            # As a kubelet does: a file in the mounted directory is never half written.
            unfinished = mounted.parent.parent / f".{KEY}.applied"
            unfinished.write_bytes(base64.b64decode(secret["data"][KEY]))
            unfinished.rename(mounted)
        case _:
            sys.exit(f"this stand-in for kubectl does not know {arguments}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
