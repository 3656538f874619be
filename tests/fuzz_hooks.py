"""Schemathesis' hooks for ``fuzz.py``: most bodies name the model that is there, and ask for a short answer."""

import json
from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    """The body, with a model that can answer three times out of four."""
    if isinstance(body, dict) and isinstance(body.get("model", ""), str) and len(json.dumps(body, default=str)) % 4:
        body["model"] = "smollm2:135m"
        if not isinstance(body.get("options", {}), dict):
            return body
        body["options"] = {"num_predict": 8, **(body.get("options") or {})}
    return body
