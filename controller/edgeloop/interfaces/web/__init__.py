"""The daemon's front over HTTP: an API with its OpenAPI description, pages for people, metrics for Prometheus.

Law: parses, asks ``orchestrate``, presents. Whatever has no rule is refused: reading needs the observer's role,
anything else the operator's. Nothing is fetched from elsewhere: scripts, styles and charts are served from the
package. Whatever a device or a user named is escaped. FastAPI and uvicorn (extra ``serve``) are imported by this room
alone.
"""
