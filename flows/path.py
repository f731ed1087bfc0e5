"""Path templates: identifiers in a path become `:id`, so that a path may be a group key.

`/api/pitches/123?page=2` becomes `/api/pitches/:id`: the query goes, and segments that are numbers, UUIDs, long hex or
other long mixes of letters and digits are identifiers.
"""

import re

_ID = re.compile(
    r"^(?:[0-9]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{12,}"
    r"|(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_-]{20,})$"
)


def template(path: str) -> str:
    """Give the template of a path or URL; scheme and host stay as they are."""
    plain = path.split("?", 1)[0].split("#", 1)[0]
    scheme, mark, rest = plain.rpartition("://")
    return scheme + mark + "/".join(":id" if _ID.match(segment) else segment for segment in rest.split("/"))
