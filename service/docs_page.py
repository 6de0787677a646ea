"""`GET /docs` and `/redoc`: the API on one page, made of the OpenAPI document.

Plain HTML with a style sheet of ours: no script, and nothing that is fetched from elsewhere, so the
content security policy of the other pages holds for it too. `create_app` makes
`FastAPI(docs_url=None, redoc_url=None)` and calls `add_docs(app)`.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from service.docs_example import complete_document
from service.docs_schemas import Schema, example_of, fields_of, type_of

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_CODE = re.compile(r"`([^`]+)`")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: API</title>
<link rel="stylesheet" href="/static/docs.css">
</head>
<body>
<header><h1>{title} <small>{version}</small></h1><p>{summary}</p>
<p>The same for machines: <a href="/openapi.json">openapi.json</a>. \
The page for people: <a href="/">ask a question</a>.</p></header>
<nav aria-label="Contents">{contents}</nav>
<main>{operations}<h2 id="schemas">Schemas</h2>{schemas}</main>
</body>
</html>
"""


def add_docs(app: FastAPI) -> None:
    """Serve the page, of a completed document; `app` may be described further after it."""
    complete_document(app)

    @app.get("/docs", include_in_schema=False)
    async def docs(http: Request) -> HTMLResponse:
        return HTMLResponse(page_of(app.openapi(), str(http.base_url).rstrip("/")))

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> RedirectResponse:
        return RedirectResponse("/docs", status_code=308)


def page_of(document: Mapping[str, Any], address: str) -> str:
    """An OpenAPI document (3.1) as HTML.

    Args:
        document: what FastAPI makes.
        address: of the service, for the commands that are shown.
    """
    schemas: Mapping[str, Schema] = document.get("components", {}).get("schemas", {})
    operations = list(_operations(document))
    info = document["info"]
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        summary=_prose(info.get("summary", "")),
        contents=_list(
            f'<a href="#{_anchor(method, path)}">{_call(method, path)}</a>'
            for method, path, _ in operations
        ),
        operations="".join(
            _operation(method, path, operation, schemas, address)
            for method, path, operation in operations
        ),
        schemas="".join(_schema(name, schema) for name, schema in sorted(schemas.items())),
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def _operation(
    method: str,
    path: str,
    operation: Mapping[str, Any],
    schemas: Mapping[str, Schema],
    address: str,
) -> str:
    parts = [f'<section><h2 id="{_anchor(method, path)}">{_call(method, path)}</h2>']
    parts += [f"<p>{_prose(text)}</p>" for text in _paragraphs(operation)]
    if "security" in operation:
        parts.append("<p>Asks for a key: <code>Authorization: Bearer KEY</code>.</p>")
    if parameters := operation.get("parameters"):
        parts.append(_table("Parameters", map(_parameter, parameters)))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        parts.append(f"<p>Body: {type_of(body['schema'])}.</p>")
    example = example_of(body["schema"], schemas, required_only=True) if body else None
    parts.append(f"<pre><code>{escape(_command(method, address + path, example))}</code></pre>")
    parts.append("<h3>Replies</h3><dl>")
    for status, reply in operation["responses"].items():
        parts.append(f"<dt>{escape(status)}</dt><dd>{_reply(reply, schemas)}</dd>")
    return "".join([*parts, "</dl></section>"])


def _reply(reply: Mapping[str, Any], schemas: Mapping[str, Schema]) -> str:
    parts = [_prose(reply["description"])]
    for media, content in reply.get("content", {}).items():
        schema = content.get("schema", {})
        parts.append(f" <code>{escape(media)}</code>: {type_of(schema)}.")
        if text := content.get("example"):
            parts.append(f"<pre><code>{escape(str(text))}</code></pre>")
        elif media == "application/json" and "$ref" in schema and "Error" not in schema["$ref"]:
            example = json.dumps(example_of(schema, schemas), indent=2, ensure_ascii=False)
            parts.append(
                "<details><summary>Example</summary>"
                f"<pre><code>{escape(example)}</code></pre></details>"
            )
    return "".join(parts)


def _schema(name: str, schema: Schema) -> str:
    rows = (
        _row(field, type_of(part), required, part) for field, part, required in fields_of(schema)
    )
    heading = f'<section><h3 id="{escape(name)}">{escape(name)}</h3>'
    description = f"<p>{_prose(schema.get('description', ''))}</p>"
    body = _table("Fields", rows) if schema.get("properties") else f"<p>{type_of(schema)}</p>"
    return f"{heading}{description}{body}</section>"


def _parameter(parameter: Mapping[str, Any]) -> str:
    schema = {**parameter["schema"], "description": parameter.get("description", "")}
    name = f"{parameter['name']} ({parameter['in']})"
    return _row(name, type_of(schema), parameter.get("required", False), schema)


def _row(name: str, kind: str, required: bool, schema: Schema) -> str:
    note = [_prose(schema.get("description", ""))]
    if "default" in schema:
        note.append(f"Default <code>{escape(json.dumps(schema['default']))}</code>.")
    if examples := schema.get("examples"):
        shown = json.dumps(examples[0], ensure_ascii=False)
        note.append(f"Example <code>{escape(shown)}</code>.")
    must = " <b>required</b>" if required else ""
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code>{must}</th>'
        f"<td>{kind}</td><td>{' '.join(filter(None, note))}</td></tr>"
    )


def _table(caption: str, rows: Iterator[str]) -> str:
    head = '<tr><th scope="col">Name</th><th scope="col">Type</th><th scope="col">Meaning</th></tr>'
    return (
        f'<div class="table" tabindex="0" role="group" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead>{head}</thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _command(method: str, url: str, body: Any) -> str:
    if body is None:
        return f"curl {shlex.quote(url)}"
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl {shlex.quote(url)} -H 'Content-Type: application/json' \\\n  -d {data}"


def _paragraphs(operation: Mapping[str, Any]) -> list[str]:
    return [part for part in operation.get("description", "").split("\n\n") if part.strip()]


def _prose(text: str) -> str:
    """Text with its `code` set as such."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _call(method: str, path: str) -> str:
    return f"<b>{method.upper()}</b> <code>{escape(path)}</code>"


def _anchor(method: str, path: str) -> str:
    return escape(method + re.sub(r"\W+", "-", path))


def _list(items: Iterator[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
