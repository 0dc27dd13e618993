"""GET /docs: the OpenAPI document for people, by Swagger UI.

The page has the rights of the local user's own pages, and its program is somebody else's, from another server. So it is
one version of that program, whose hashes are here: a browser runs nothing else. How to get them for another version:
`npm pack swagger-ui-dist@VERSION`, and `openssl dgst -sha384 -binary FILE | base64` of each file in it.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_FROM = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0"
_STYLE = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_PROGRAM = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Stromboli</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{_FROM}/swagger-ui.css" integrity="{_STYLE}" crossorigin="anonymous">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>The OpenAPI document is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="{_FROM}/swagger-ui-bundle.js" integrity="{_PROGRAM}" crossorigin="anonymous"></script>
<script>SwaggerUIBundle({{url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true}})</script>
</body>
</html>
"""


@router.get("/docs", response_class=HTMLResponse)
async def docs() -> HTMLResponse:
    """The page, which no other page may have in a frame."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": "frame-ancestors 'none'"})
