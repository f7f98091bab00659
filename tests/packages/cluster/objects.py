"""The API server's objects, read and written as a node's agents do it."""

from __future__ import annotations

import json
from typing import Any

from harness.kubernetes import ApiServer

Object = dict[str, Any]


def items(api: ApiServer, path: str) -> list[Object]:
    answer = api.admin("GET", path)
    assert answer.status == 200, f"GET {path}: {answer.status} {answer.text()}"
    found: list[Object] = answer.json()["items"]
    return found


def get(api: ApiServer, path: str) -> Object | None:
    """None, where there is no such object."""
    answer = api.admin("GET", path)
    if answer.status == 404:
        return None
    assert answer.status == 200, f"GET {path}: {answer.status} {answer.text()}"
    content: Object = answer.json()
    return content


def merge(api: ApiServer, path: str, content: Object) -> None:
    """A merge patch. An object that has gone meanwhile is left alone."""
    answer = api.admin("PATCH", path, content, content_type="application/merge-patch+json")
    assert answer.status in (200, 404), f"PATCH {path}: {answer.status} {answer.text()}"


def of_pod(pod: Object) -> str:
    """The path of a pod."""
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def text(content: object) -> str:
    return json.dumps(content)
