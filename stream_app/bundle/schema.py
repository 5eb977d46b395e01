"""The JSON Schema of manifests, for those who write bundles in another language. Made from the types and their bounds.

What only a comparison of two fields shows (as many scales as labels, close_at <= open_at) no schema says:
``check_manifest`` has the last word.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from stream_app.bundle import manifest as m


def manifest_schema() -> dict[str, Any]:
    """Return the schema: draft 2020-12, closed objects, the bounds of ``check_manifest`` as far as it can say them."""
    (root,), parts = msgspec.json.schema_components((m.Manifest,), ref_template="#/$defs/{name}")
    schema = parts.pop(root["$ref"].rpartition("/")[2])
    whole = schema["properties"]
    whole["schema"] = {"const": m.SCHEMA}
    for name in ("name", "version"):
        whole[name]["pattern"] = f"^{m.NAME_PATTERN}$"
    whole["labels"] |= {"minItems": 1}
    digest = {"type": "string", "pattern": f"^{m.SHA256_PATTERN}$"}
    whole["files"] = {
        "type": "object",
        "properties": dict.fromkeys(m.FILE_NAMES, digest),
        "required": list(m.FILE_NAMES),
        "additionalProperties": False,
    }
    schema["allOf"] = [
        _where_task("binary", {"maxItems": 1}),
        _where_task("multiclass", {"minItems": 2}),
    ]
    label = parts["Label"]["properties"]
    label["name"] |= {"minLength": 1, "maxLength": m.MAX_LABEL_CHARS}
    for name in ("open_at", "close_at"):
        label[name] |= {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
    scaling = parts["Scaling"]["properties"]
    scaling["scale"]["items"] |= {"exclusiveMinimum": 0, "maximum": m.MAX_CALIBRATION}
    scaling["offset"]["items"] |= {"minimum": -m.MAX_CALIBRATION, "maximum": m.MAX_CALIBRATION}
    scaling["knots"]["items"]["items"]["prefixItems"] = [
        {"type": "number", "minimum": -m.KNOT_LIMIT, "maximum": m.KNOT_LIMIT}
    ] * 2
    check = parts["SelfCheck"]["properties"]
    check["tolerance"] |= {"exclusiveMinimum": 0, "maximum": m.MAX_TOLERANCE}
    check["cases"] |= {"minItems": 1}
    for part in (schema, *parts.values()):
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"]).replace("``", "`")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vigil:schema:manifest:v1",
        **schema,
        "title": "Manifest of a Vigil model bundle, schema 1",
        "$defs": parts,
    }


def schema_text() -> str:
    """Return the content of ``schemas/manifest.schema.json``."""
    return msgspec.json.format(msgspec.json.encode(manifest_schema()), indent=2).decode() + "\n"


def _where_task(task: m.Task, labels: dict[str, int]) -> dict[str, Any]:
    return {
        "if": {"properties": {"task": {"const": task}}},
        "then": {"properties": {"labels": labels}},
    }
