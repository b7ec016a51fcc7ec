"""Requests held against an OpenAPI 3 description: is there such a path, and is the body as described?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator

Json = dict[str, Any]


@dataclass(frozen=True)
class Description:
    """A description, whose paths are relative to its server."""

    content: Json

    @classmethod
    def read(cls, path: Path) -> Description:
        """From a file."""
        return cls(json.loads(path.read_text("utf-8")))

    def faults(self, method: str, path: str, body: Any) -> list[str]:
        """Why such a request is none that is described; nothing if it is."""
        operation = self._operation(method.lower(), urlsplit(path).path)
        if operation is None:
            return [f"{method} {path}: no such operation"]
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            return [f"{method} {path}: has no body"] if body is not None else []
        return [f"{method} {path}: {fault}" for fault in self._body(schema, body)]

    def _operation(self, method: str, path: str) -> Json | None:
        """The operation of the most literal template that fits."""
        fitting = [
            (template.count("{"), operations[method])
            for template, operations in self.content["paths"].items()
            if method in operations and re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)), path)
        ]
        return min(fitting, key=lambda one: one[0])[1] if fitting else None

    def _body(self, schema: Json, body: Any) -> Iterator[str]:
        components = self.content["components"]
        for error in Draft202012Validator({**schema, "components": components}).iter_errors(body):
            yield f"{error.json_path}: {error.message[:200]}"
        name = schema.get("$ref", "").rsplit("/", 1)[-1]
        known = components["schemas"].get(name, schema).get("properties")
        if known is not None and isinstance(body, dict):
            yield from (f"{key}: not described" for key in body if key not in known)
