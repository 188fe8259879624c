"""The OpenAPI 3.1 description served at /openapi.json: openapi.yaml, and the schemas of what the server checks.

The inputs come from the table of parameters, settings and faults from their pydantic models. Imported for the description
only: a server starts without pydantic and yaml.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from batch.core.parameters import PARAMETERS, Parameter
from batch.server.settings import model
from batch.server.simulation.faults import FAULTS

Schema = dict[str, Any]


def describe(url: str) -> Schema:
    """Return the description of a server at `url`."""
    described: Schema = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    described["servers"] = [{"url": url}]
    schemas, shared = TypeAdapter.json_schemas(
        [("faults", "validation", FAULTS), ("settings", "validation", TypeAdapter(model(at_run_time=True)))],
        ref_template="#/components/schemas/{model}",
    )
    described["components"]["schemas"] |= shared["$defs"] | {
        "Faults": schemas["faults", "validation"],
        "Inputs": {
            "type": "object",
            "required": ["prompt"],
            "properties": {parameter.name: _input(parameter) for parameter in PARAMETERS},
        },
    }
    return described


def _input(parameter: Parameter) -> Schema:
    schema: Schema = {
        "type": {"int": "integer", "bool": "boolean"}.get(parameter.kind, "string"),
        "default": parameter.default,
        "description": parameter.help,
    }
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.minimum is not None:
        schema |= {"minimum": parameter.minimum, "maximum": parameter.maximum}
    return schema
