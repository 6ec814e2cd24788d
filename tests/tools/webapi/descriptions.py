"""An OpenAPI description to test with, and servers of the manifest that use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ringwall.manifest.types import ArgumentRole, Injection, Operation, ToolServer
from ringwall.tools.webapi.api import WebApi
from ringwall.tools.webapi.document import Document
from ringwall.tools.webapi.operation import WebOperation, read

URL = "https://api.example/v1"
TEXT = {"type": "string", "maxLength": 40}

SHOP: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "https://elsewhere.example"}],
    "paths": {
        "/users/{id}": {
            "parameters": [
                {
                    "name": "id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[a-z0-9./ é-]+$", "maxLength": 20},
                }
            ],
            "get": {
                "operationId": "getUser",
                "summary": "One user.",
                "parameters": [
                    {
                        "name": "fields",
                        "in": "query",
                        "explode": False,
                        "schema": {
                            "type": "array",
                            "items": {"type": "string", "enum": ["name", "mail"]},
                            "maxItems": 2,
                        },
                    },
                    {"name": "X-Trace", "in": "header", "schema": TEXT},
                    {"name": "Authorization", "in": "header", "schema": TEXT},
                ],
                "responses": {},
            },
            "delete": {"operationId": "deleteUser", "responses": {}},
            "put": {"operationId": "putUser", "requestBody": {"$ref": "#/components/requestBodies/User"}},
        },
        "/users": {
            "get": {
                "operationId": "listUsers",
                "parameters": [
                    {
                        "name": "limit",
                        "in": "query",
                        "schema": {
                            "type": "integer",
                            "format": "int32",
                            "minimum": 1,
                            "exclusiveMaximum": True,
                            "maximum": 100,
                        },
                    },
                    {"name": "active", "in": "query", "schema": {"type": "boolean", "nullable": True}},
                    {"name": "rate", "in": "query", "schema": {"type": "number"}},
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": TEXT}},
                    {
                        "name": "where",
                        "in": "query",
                        "style": "deepObject",
                        "explode": True,
                        "schema": {"type": "object", "properties": {"city": TEXT, "age": {"type": "integer"}}},
                    },
                    {"name": "q", "in": "query", "required": True, "schema": TEXT},
                ],
            },
            "post": {
                "operationId": "login",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {
                                "type": "object",
                                "required": ["user"],
                                "properties": {"user": TEXT, "scopes": {"type": "array", "items": TEXT}},
                            }
                        }
                    },
                },
            },
        },
    },
    "components": {
        "requestBodies": {
            "User": {
                "required": True,
                "content": {
                    "application/xml": {"schema": {}},
                    "application/json": {"schema": {"$ref": "#/components/schemas/User"}},
                },
            }
        },
        "schemas": {
            "Base": {
                "type": "object",
                "required": ["made", "name"],
                "properties": {
                    "made": {"type": "string", "readOnly": True},
                    "name": {"type": "string", "minLength": 1},
                },
            },
            "User": {
                "allOf": [
                    {"$ref": "#/components/schemas/Base"},
                    {
                        "type": "object",
                        "properties": {
                            "mail": {"type": "string", "format": "email", "nullable": True, "example": "a@b"},
                            "secret": {"type": "string"},
                        },
                    },
                ]
            },
        },
    },
}


def operation(spec: dict[str, Any], name: str, **options: Any) -> WebOperation:
    document = Document(spec)
    return read(document, document.find(name), **options)


def single(
    parameter: dict[str, Any] | None = None,
    body: Any = None,
    *,
    path: str = "/a",
    method: str = "post",
    version: str = "3.1.0",
    **more: Any,
) -> dict[str, Any]:
    """A description with one operation, ``op``."""
    inner = {
        "operationId": "op",
        **({"parameters": [parameter]} if parameter else {}),
        **(
            {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}
            if body is not None
            else {}
        ),
        **more,
    }
    return {"openapi": version, "paths": {path: {method: inner}}}


def server(folder: Path, spec: Any = SHOP, *, inject: Injection | None = None, **ops: tuple[str, ...]) -> WebApi:
    """A server with these operations, each with its arguments."""
    file = folder / "api.json"
    file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return WebApi(
        ToolServer(
            name="shop",
            openapi=file,
            url=URL,
            ops={
                name: Operation(effect="read", args={arg: ArgumentRole(role="param") for arg in args})
                for name, args in ops.items()
            },
        ),
        inject,
    )
