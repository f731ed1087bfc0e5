"""Policy: what decides, beside rules and routes, who hears of an alert and what is said."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """What of a configuration the policy needs.

    `runbooks` are the first steps of each rule's runbook, `modes` how each channel is told of many alerts (MODES of grouping).
    """

    runbooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)


NO_POLICY = PolicyOptions()
