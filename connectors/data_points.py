"""Analytics Engine data points: blobs, doubles and indexes by position, named by configuration.

A point arrives as `{"timestamp": ..., "blobs": [...], "doubles": [...], "indexes": [...]}`; a position that is missing,
null or of the wrong type is an absent value. One that was kept of several says of
how many: `_sample_interval`.
"""

from typing import Literal

EVENT_TIME = ("timestamp",)
WEIGHT = "_sample_interval"  # how many points one stands for, where Analytics Engine kept a part of them
ARRAYS: dict[str, Literal["number", "string", "flag"]] = {"blobs": "string", "doubles": "number", "indexes": "string"}
IDENTITIES = ("ray_id", "trace_id")  # the index names that tell one point to a person
PATHS = frozenset({"url", "path", "endpoint"})
# The blobs and indexes that tell bad points apart, where a dataset has them: few values each, and nobody's name among them.
DIMENSIONS = frozenset(
    (
        *("url", "path", "endpoint", "route", "method", "status", "operation", "name", "event"),
        *("colo", "country", "region", "host", "portal", "service", "worker"),
    )
)
