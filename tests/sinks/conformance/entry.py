"""Entry: what the conformance suite knows of one way to use a kind of channel.

An entry describes: it says how to set the channel up against its counterpart, which faults that one can make in its own
protocol and what is to come of each, what it takes for told and what people read. The tests ask every entry the same
questions. A question without a meaning for a kind is answered by `NotMeant`, with the reason.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest

from sinks.channels import CHANNELS, ChannelKind
from sinks.notification import Channel

Change = Callable[[Any], Any]  # options in, options out


def to(**fields: Any) -> Change:
    """Give the change of options that puts these values there."""
    return lambda options: replace(options, **fields)


@dataclass(frozen=True, slots=True)
class NotMeant:
    """Why a question has no meaning for a kind."""

    reason: str


class Told(NamedTuple):
    """One thing that a counterpart was told; `whom` tells its receivers apart where it has several."""

    rule: str
    status: str  # "firing" or "resolved"
    whom: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """A counterpart that runs, and the options of a channel that speaks to it.

    What `meet` is given meets one attempt, at a broker each until `mend`. `told` leaves out what it recognises as a repeat,
    `shown` is what people read of the last, `wrong` what no client should send, markup made of log data among it.
    """

    options: Any
    meet: Callable[[Any], None]
    mend: Callable[[], None]
    leave: Callable[[], None]
    told: Callable[[], list[Told]]
    shown: Callable[[], str]
    wrong: Callable[[], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault, or a change of the options that the counterpart refuses, and what is to come of it.

    `words` and `code` are looked for in the error; `wait` is the least and the most of the seconds that it asks to wait.
    """

    name: str
    retried: bool
    fault: Any = None
    change: Change | None = None
    code: str = ""
    words: str = ""
    wait: tuple[float, float] | None = None
    slow: bool = False  # the attempt ends by its time: it is given `Entry.patience_ms`


Cases = tuple[Case, ...] | NotMeant


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One way to use a kind."""

    name: str
    kind: str
    open: Callable[[pytest.FixtureRequest], AbstractContextManager[There]]
    secrets: tuple[str, ...] | NotMeant  # each is in the options, where they are secret
    answers: Cases  # whatever the counterpart may answer, by code, and which of it is retried
    waits: Cases  # in how many ways it may say when to come again
    breaks: Cases  # time-outs before and after it took the message, broken connections
    away: Cases  # nobody is there
    false_success: Cases  # refusals that look like success
    echoes: Cases  # answers that hold our secrets against us
    passing: Any  # a fault of one attempt that is retried at once, or NotMeant
    repeats: int  # how often people read what was sent again because its answer got lost
    injections: tuple[str, ...] | NotMeant  # what of log data would act, were it not disarmed
    reads: tuple[str, ...]  # what people read of an alert
    shows_logs: bool = True  # whether people read what came from the logs
    too_large: tuple[int, ...] = ()  # texts of so many characters are refused for good; else any length is cut to fit
    moved: Change | NotMeant  # options that a person changes while an alert is open
    patience_ms: int = 200  # how long a channel waits that meets silence
    build: Callable[[str, Any], Channel] | None = None  # where it is to go by another clock; else as the product does
    needs_kafka: bool = False

    @property
    def registered(self) -> ChannelKind:
        """The kind, as it is registered."""
        return CHANNELS[self.kind]

    def channel(self, options: Any, **changes: Any) -> Channel:
        """Make the channel, called `pager`; `changes` replace options."""
        options = replace(options, **changes)
        assert list(options.problems()) == []
        return (self.build or self.registered.build)("pager", options)
