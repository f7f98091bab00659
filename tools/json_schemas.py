"""Makes JSON schemas for kubeconform from Kubernetes' OpenAPI document and from custom resource definitions.

    python json_schemas.py DIRECTORY KIND NAME SOURCE...

KIND is `openapi` with one swagger.json, or `crds` with files and directories. The schemas go to DIRECTORY/NAME, and the definitions
to DIRECTORY/NAME/crds.yaml. The schemas are strict: a member that the API server would prune or refuse is an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import yaml

Schema = Dict[str, Any]
DEFINITIONS = "#/definitions/"
KINDS = "x-kubernetes-group-version-kind"
FREE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Schema = {"type": ["integer", "string"]}
# The API server takes them as numbers, too.
QUANTITY, QUANTITY_SCHEMA = "io.k8s.apimachinery.pkg.api.resource.Quantity", {"type": ["string", "number"]}
STRING: Schema = {"type": "string"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
# The part of it that our objects use: definitions of custom resources leave it out.
METADATA: Schema = {
    "type": "object", "additionalProperties": False,
    "properties": {"name": STRING, "namespace": STRING, "labels": STRINGS, "annotations": STRINGS, "creationTimestamp": {"type": "null"}},
}
OBJECT_MEMBERS: Schema = {"apiVersion": STRING, "kind": STRING, "metadata": METADATA}
# The members below them say which combinations are allowed; it does not list all members.
COMBINATIONS = ("allOf", "anyOf", "oneOf", "not")


def main(arguments: List[str]) -> int:
    directory, kind, name, *sources = arguments
    into = Path(directory) / name
    into.mkdir(parents=True)
    made = from_openapi(Path(sources[0]), into) if kind == "openapi" else from_crds(list(map(Path, sources)), into)
    print(f"{name}: schemas of {made} kinds")
    return 0 if made else 1


def file_of(group: str, kind: str, version: str) -> str:
    """A schema's file, as kubeconform's template `{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json` finds it.

    To kubeconform the group of Kubernetes' core is its version.
    """
    return f"{group or version}/{kind.lower()}_{version}.json"


def write(into: Path, group: str, kind: str, version: str, schema: Schema) -> None:
    path = into / file_of(group, kind, version)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(schema, sort_keys=True))


# --- Kubernetes' own kinds --------------------------------------------------------------------------------------------


def from_openapi(document: Path, into: Path) -> int:
    definitions: Dict[str, Schema] = json.loads(document.read_text())["definitions"]
    strict = {name: strictly(schema) for name, schema in definitions.items()}
    strict[QUANTITY] = QUANTITY_SCHEMA
    made = 0
    for name, definition in definitions.items():
        kinds = definition.get(KINDS, [])
        # A kind of several groups is one that stands for a request, such as DeleteOptions.
        if len(kinds) != 1 or "metadata" not in definition.get("properties", {}):
            continue
        needed = {each: strict[each] for each in sorted(reached(strict, name))}
        (of,) = kinds
        write(into, of["group"], of["kind"], of["version"], {**strict[name], "definitions": needed})
        made += 1
    return made


def reached(definitions: Dict[str, Schema], name: str) -> Set[str]:
    """The definitions that one refers to, over all steps."""
    found: Set[str] = set()
    waiting = [name]
    while waiting:
        new = {each for each in references(definitions[waiting.pop()])} - found
        found |= new
        waiting.extend(new)
    return found


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"][len(DEFINITIONS):]
        for each in schema.values():
            yield from references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from references(each)


# --- custom resources -------------------------------------------------------------------------------------------------


def from_crds(sources: List[Path], into: Path) -> int:
    files = [file for source in sources for file in (sorted(source.rglob("*.yaml")) if source.is_dir() else [source])]
    texts = [file.read_text() for file in files]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = [each for text in texts for each in yaml.load_all(text, Loader=loader) if each]
    definitions = [each for each in documents if each["kind"] == "CustomResourceDefinition"]
    made = 0
    for definition in definitions:
        spec = definition["spec"]
        for version in filter(lambda each: each["served"], spec["versions"]):
            schema = strictly(version["schema"]["openAPIV3Schema"])
            schema["properties"] = {**schema.get("properties", {}), **OBJECT_MEMBERS}
            write(into, spec["group"], spec["names"]["kind"], version["name"], schema)
            made += 1
    (into / "crds.yaml").write_text(yaml.dump_all(definitions, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    return made


# --- both -------------------------------------------------------------------------------------------------------------


def strictly(schema: Schema) -> Schema:
    """A schema of OpenAPI as one of JSON Schema that takes no member which it does not list."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return dict(INT_OR_STRING)
    made: Schema = {}
    for name, value in schema.items():
        if name == "properties":
            made[name] = {each: strictly(inner) for each, inner in value.items()}
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            made[name] = strictly(value)
        # `format` is left out: those of Kubernetes, such as `int32`, are not those of JSON Schema.
        elif name in COMBINATIONS or not (name.startswith("x-") or name in ("description", "default", "format", "nullable")):
            made[name] = value
    if "properties" in made and "additionalProperties" not in made and not schema.get(FREE):
        made["additionalProperties"] = False
    if schema.get("x-kubernetes-embedded-resource"):
        made["properties"] = {**made.get("properties", {}), **OBJECT_MEMBERS, "metadata": {"type": "object"}}
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if "enum" in made and schema.get("nullable"):
        made["enum"] = [*made["enum"], None]
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
