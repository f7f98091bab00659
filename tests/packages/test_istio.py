from __future__ import annotations
import base64, json, os, time, subprocess
from pathlib import Path
import pytest
import istio_world
from cluster.world import Cluster
from harness import installed
from harness.processes import Supervisor, eventually
from harness.pki import Authority, private_pem
from harness.supervised import supervised
from harness.signing_keys import rsa_key, one_line, seal
from registry import Registry, HOST

NS = "jwt-reissuer"

@pytest.fixture(scope="module")
def istio(cluster: Cluster, tmp_path_factory):
    istio_world.install(cluster, tmp_path_factory.mktemp("istio"))
    return cluster

@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with supervised(tmp_path_factory.mktemp("registry")) as supervisor:
        yield Registry(supervisor).start()

def test_up(istio, registry, tmp_path):
    digest = registry.push_module(installed.module(), "jwt-reissuer-wasm", "0.2.0")
    print(digest)
    k = istio.kubectl
    istio.create_namespace(NS)
    authority = Authority(tmp_path)
    cert, key = authority.issue("reissuer.example.com", "reissuer.example.com", names=("reissuer.example.com",))
    sealing = os.urandom(32)
    k("-n", NS, "create", "secret", "generic", "jwt-reissuer-sealing-key", f"--from-literal=key={base64.b64encode(sealing).decode()}")
    k("-n", NS, "create", "secret", "generic", "jwt-reissuer-signing-keys", f"--from-literal=signing-keys={seal(one_line(private_pem(rsa_key())).encode(), sealing)}")
    k("-n", NS, "create", "secret", "tls", "jwt-reissuer-tls", f"--cert={cert}", f"--key={key}")
    t=time.time()
    istio.helm("install", "jwt-reissuer", installed.SAMPLES / "chart", "-n", NS, "--set", f"image.registry={HOST}", "--set", f"image.module.digest={digest}", "--set", "gateway.replicas=1")
    istio.wait_for("jwt-reissuer-gateway", namespace=NS)
    print("available", time.time()-t)
    address = istio.service_address("jwt-reissuer-gateway", namespace=NS)
    pod = istio.node.pod("jwt-reissuer-gateway")
    def curl(*a):
        r = subprocess.run(["curl","-sS","-i","--max-time","5","--cacert",str(authority.certificate),"--resolve",f"reissuer.example.com:443:{address}",*a],capture_output=True,text=True)
        return r.stdout + r.stderr
    istio.api.create_pod("payments","ledger","ledger-0")
    tok = istio.api.token("payments","ledger",["https://reissuer.example.com"])
    end=time.time()+20
    while time.time()<end:
        r=curl("https://reissuer.example.com/openid/v1/jwks"); s=curl("-X","POST","https://reissuer.example.com/reissue","-H",f"Authorization: Bearer {tok}")
        print(time.time()-t, r.split("\n")[0], s.split("\n")[0])
        if " 200" in r.split("\n")[0] and " 200" in s.split("\n")[0]: break
        time.sleep(1)
    print(r, s)
    print(pod.containers["istio-proxy"].log()[-6000:])
    print(istio.node.log()[-2000:])
