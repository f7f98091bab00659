"""The volumes of a pod, made and renewed as a kubelet does: projected, secret, configMap, downwardAPI and emptyDir."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

from harness.kubernetes import ApiServer
from harness.projected_volume import ProjectedVolume

from .objects import Object, get

# A kubelet renews a token when four fifths of its life are over.
RENEWED_AT = 0.8
FieldOf = Callable[[str], str]


class MissingObject(Exception):
    """A volume names an object that does not exist: the pod waits for it, as in a cluster."""


class Volumes:
    """The directories of one pod's volumes."""

    def __init__(self, api: ApiServer, pod: Object, directory: Path, field_of: FieldOf):
        self._api = api
        self._pod = pod
        self._directory = directory
        self._field_of = field_of
        self._projected: dict[str, ProjectedVolume] = {}
        self._content: dict[str, dict[str, bytes]] = {}
        self._tokens: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._group = pod["spec"].get("securityContext", {}).get("fsGroup")
        self.serviceable = pod["spec"].get("volumes") or []

    def path(self, name: str) -> Path:
        return self._directory / name

    def make(self) -> None:
        """Raises MissingObject."""
        contents = {volume["name"]: self._files(volume) for volume in self.serviceable if not _is_empty(volume)}
        for volume in self.serviceable:
            directory = self.path(volume["name"])
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o777 if _is_empty(volume) else 0o755)
            if not _is_empty(volume):
                self._projected[volume["name"]] = ProjectedVolume(directory, {})
        self._put(contents)

    def renew(self) -> None:
        """Puts in place what has changed since. An object that has gone leaves its last content, as with a kubelet."""
        for volume in self.serviceable:
            if _is_empty(volume):
                continue
            try:
                self._put({volume["name"]: self._files(volume)})
            except MissingObject:
                pass

    def _put(self, contents: dict[str, dict[str, bytes]]) -> None:
        for name, files in contents.items():
            if self._content.get(name) == files:
                continue
            self._content[name] = files
            self._projected[name].replace(files)
            for file in files:
                link = self.path(name) / file.split("/")[0]
                if not link.is_symlink():
                    link.symlink_to(f"..data/{link.name}")
            if self._group is not None:
                for file in (self.path(name) / "..data").resolve().rglob("*"):
                    os.chown(file, -1, self._group)

    def _files(self, volume: Object) -> dict[str, bytes]:
        if "projected" in volume:
            files: dict[str, bytes] = {}
            for source in volume["projected"]["sources"]:
                files |= self._source(source)
            return files
        for kind in ("secret", "configMap", "downwardAPI"):
            if kind in volume:
                source = dict(volume[kind])
                if "secretName" in source:
                    source["name"] = source.pop("secretName")
                return self._source({kind: source})
        raise AssertionError(f"a volume of this kind is not known here: {volume}")

    def _source(self, source: Object) -> dict[str, bytes]:
        ((kind, wanted),) = source.items()
        match kind:
            case "serviceAccountToken":
                return {wanted["path"]: self._token(wanted.get("audience", ""), wanted.get("expirationSeconds", 3600))}
            case "downwardAPI":
                return {
                    each["path"]: self._field_of(each["fieldRef"]["fieldPath"]).encode()
                    for each in wanted.get("items", []) if "fieldRef" in each
                }
            case "secret" | "configMap":
                return self._object(kind, wanted)
        raise AssertionError(f"a source of this kind is not known here: {kind}")

    def _object(self, kind: str, wanted: Object) -> dict[str, bytes]:
        plural = {"secret": "secrets", "configMap": "configmaps"}[kind]
        found = get(self._api, f"/api/v1/namespaces/{self._pod['metadata']['namespace']}/{plural}/{wanted['name']}")
        if found is None:
            if wanted.get("optional"):
                return {}
            raise MissingObject(f"{kind} {wanted['name']}")
        data = {name: content.encode() for name, content in (found.get("data") or {}).items()}
        if kind == "secret":
            data = {name: base64.b64decode(content) for name, content in data.items()}
        if wanted.get("items") is None:
            return data
        missing = [each["key"] for each in wanted["items"] if each["key"] not in data]
        if missing and not wanted.get("optional"):
            raise MissingObject(f"{kind} {wanted['name']} has no {missing}")
        return {each["path"]: data[each["key"]] for each in wanted["items"] if each["key"] in data}

    def _token(self, audience: str, seconds: int) -> bytes:
        kept = self._tokens.get((audience, str(seconds)))
        if kept is None or time.time() > kept[1]:
            metadata = self._pod["metadata"]
            bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
            token = self._api.token(
                metadata["namespace"], self._pod["spec"]["serviceAccountName"], [audience] if audience else [], pod=bound, seconds=seconds
            )
            kept = self._tokens[audience, str(seconds)] = (token.encode(), time.time() + seconds * RENEWED_AT)
        return kept[0]

    def forget_tokens(self) -> None:
        """The next renewal gets new tokens, as when four fifths of their life are over."""
        self._tokens.clear()


def _is_empty(volume: Object) -> bool:
    return "emptyDir" in volume or not set(volume) - {"name"}


