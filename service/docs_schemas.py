"""JSON schemas as FastAPI writes them, for people: a type in words, fields, an example."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} fields",
}
_BLANKS = {"string": "", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}


def type_of(schema: Schema) -> str:
    """What a value may be, in HTML; named schemas are links into the page."""
    if "$ref" in schema:
        name = escape(_name(schema))
        return f'<a href="#{name}">{name}</a>'
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(type_of(option) for option in options))
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return ", ".join(map(_code, schema["enum"]))
    if schema.get("type") == "array":
        words = f"list of {type_of(schema.get('items', {}))}"
    else:
        words = _WORDS.get(schema.get("type", ""), "anything")
    bounds = [text.format(f"{schema[key]:,}") for key, text in _BOUNDS.items() if key in schema]
    return ", ".join([words, *bounds])


def fields_of(schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """The fields of an object: name, schema, and whether it must be given."""
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        yield name, part, name in required


def example_of(
    schema: Schema, schemas: Mapping[str, Schema], *, required_only: bool = False
) -> Any:
    """A value that the schema describes, of the examples in it.

    Args:
        schema: of the value.
        schemas: those that have names.
        required_only: leave out the fields of the object that need not be given.
    """
    if "$ref" in schema:
        return example_of(schemas[_name(schema)], schemas, required_only=required_only)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if options := schema.get("anyOf"):
        return example_of(options[0], schemas)
    if "items" in schema:
        return [example_of(schema["items"], schemas)]
    if "properties" in schema:
        return {
            name: example_of(part, schemas)
            for name, part, required in fields_of(schema)
            if required or not required_only
        }
    return _BLANKS.get(schema.get("type", ""))


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[-1]


def _code(value: object) -> str:
    return f"<code>{escape(json.dumps(value, ensure_ascii=False))}</code>"
