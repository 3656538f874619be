"""/openapi.json has every route, with the body that it takes."""

import re
from typing import Any

import pytest
from served import Scripted
from starlette.routing import Route

pytestmark = pytest.mark.anyio

NO_BODY = re.compile(r"/v1/responses/\{id\}(/cancel)?|/api/blobs/\{digest\}|/allod/v1/conversations/\{id\}")


async def document(scripted: Scripted) -> dict[str, Any]:
    async with scripted.client() as http:
        return (await http.get("/openapi.json")).json()


async def test_every_route_is_there_with_its_body(scripted: Scripted) -> None:
    paths = (await document(scripted))["paths"]
    routes = [route for route in scripted.app.routes if isinstance(route, Route)]
    assert len(routes) > 50
    for route in routes:
        path = route.path.replace(":path}", "}")
        for method in (route.methods or set()) - {"HEAD"}:
            operation = paths[path][method.lower()]
            assert operation["summary"], path
            takes = method in ("POST", "PUT", "DELETE") and not NO_BODY.fullmatch(path)
            assert ("requestBody" in operation) == takes, (method, path)
            assert [p["name"] for p in operation.get("parameters", [])] == re.findall(r"\{(\w+)\}", path)


async def test_references_lead_somewhere(scripted: Scripted) -> None:
    text = await document(scripted)
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                found.add(value["$ref"])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(text)
    assert len(found) > 20
    assert {ref.removeprefix("#/components/schemas/") for ref in found} <= set(text["components"]["schemas"])
