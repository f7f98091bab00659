"""What an Envoy before the one of tests/requirements.txt needs changed in the bootstrap we ship, as docs/older-envoys.md says it."""

from __future__ import annotations

from typing import Any

from . import installed

# The first to take what we ship as it is.
FIRST_UNCHANGED = (1, 37)


def adapt(resources: dict[str, Any]) -> None:
    """Changes listeners and clusters for the Envoy in use."""
    if installed.envoy_version() < FIRST_UNCHANGED:
        for listener in resources["listeners"]:
            for chain in listener["filter_chains"]:
                for each in chain["filters"]:
                    _bodies_by_local_reply(each["typed_config"])
        for cluster in resources["clusters"]:
            for options in cluster.get("typed_extension_protocol_options", {}).values():
                _prefix_by_mutation(options.get("http_filters", []))


def _bodies_by_local_reply(manager: dict[str, Any]) -> None:
    """`direct_response.body_format` came with 1.37; until then the connection manager's own replies are formatted by
    `local_reply_config`, and the one that is a 200 is the one that the route gives."""
    for host in manager.get("route_config", {}).get("virtual_hosts", []):
        for route in host["routes"]:
            body_format = route.get("direct_response", {}).pop("body_format", None)
            if body_format is not None:
                status = {"comparison": {"op": "EQ", "value": {"default_value": 200, "runtime_key": "jwt_reissuer.never_set"}}}
                mapper = {"filter": {"status_code_filter": status}, "body_format_override": body_format}
                manager["local_reply_config"] = {"mappers": [mapper]}


def _prefix_by_mutation(filters: list[dict[str, Any]]) -> None:
    """`header_value_prefix` came with 1.37 too."""
    for place, each in enumerate(filters):
        credential = each["typed_config"].get("credential", {}).get("typed_config", {})
        prefix = credential.pop("header_value_prefix", None)
        if prefix is not None:
            header = {"key": credential["header"].lower(), "value": f"{prefix}%REQ(x-kube-token)%"}
            credential["header"] = "x-kube-token"
            mutations = [
                {"append": {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD", "header": header}}, {"remove": "x-kube-token"}
            ]
            kind = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
            mutation = {"@type": kind, "mutations": {"request_mutations": mutations}}
            filters.insert(place + 1, {"name": "envoy.filters.http.header_mutation", "typed_config": mutation})
            return
