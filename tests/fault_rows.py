"""What can be wrong with a broker or the line to it: the table of docs/torture.md, and of tests/edge/test_broker_faults.py.

A row's `key` is the name of what happens, in `faults.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = "all acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fault, what a subscriber sees of it, and what the ledger holds at the end."""

    key: str
    fault: str
    hears: str
    holds: str = ALL
    brokers: tuple[str, ...] = ("mosquitto",)


BOTH = ("mosquitto", "embedded")

ROWS = (
    Row(
        key="killed",
        fault="broker killed, comes back empty",
        hears="after its return every outcome in order and once; the retained states anew; no progress of the meantime",
        brokers=BOTH,
    ),
    Row(
        key="restarted",
        fault="broker restarted, with what it retained",
        hears="the same; the state of a task that ended meanwhile is cleared",
    ),
    Row(
        key="stopped",
        fault="broker stopped (SIGSTOP) for longer than its answers are waited for, and continued",
        hears="all outcomes in order; the one under way perhaps again, with its id",
    ),
    Row(
        key="slow",
        fault="line of a few bytes at a time",
        hears="all outcomes in order and once, late",
        brokers=BOTH,
    ),
    Row(
        key="silent",
        fault="line goes dead without a word, both ways",
        hears="`offline` by the last will or not at all, then `online`; outcomes in order, the one under way again",
        brokers=BOTH,
    ),
    Row(
        key="deaf",
        fault="acknowledgements are lost",
        hears="the outcome under way twice, with the same id; the rest once",
        brokers=BOTH,
    ),
    Row(
        key="cut",
        fault="line cut in the middle of a packet, again and again",
        hears="all outcomes in order; one of each connection perhaps again",
        brokers=BOTH,
    ),
    Row(
        key="denied",
        fault="access list denies events and models, then allows them",
        hears="other states at once; models, and the outcomes in order and once, when it allows them",
        holds="nothing acknowledged until then; then all",
    ),
    Row(
        key="rival",
        fault="another client takes our connection over, five times",
        hears="`offline`, `online` at each turn, ever more slowly; outcomes in order",
    ),
    Row(
        key="forgotten",
        fault="broker forgets what it retained, and nobody says so",
        hears="what changes at once; the rest at the next connection",
    ),
    Row(
        key="clock",
        fault="the clock is set back by a year",
        hears="outcomes in the order in which they happened, their times as the clock had them",
        brokers=BOTH,
    ),
    Row(
        key="limited",
        fault="mosquitto's `message_size_limit` below an outcome's and a state's size (PUBACK: Packet too large)",
        hears="all but that outcome and that state, on the same connection",
        holds="all acknowledged; the log tells of what was left out",
    ),
)

SCRIPTS = (
    Row(key="garbage", fault="garbage instead of a packet", hears="a new connection; everything once"),
    Row(key="behind", fault="garbage right behind a good CONNACK, three times", hears="a new connection; everything once"),
    Row(key="http", fault="an HTTP server answers the CONNECT", hears="nothing of it; the next connection works"),
    Row(key="short", fault="CONNACK of one byte", hears="nothing of it; the next connection works"),
    Row(key="twice", fault="a second CONNACK", hears="everything once"),
    Row(key="suback", fault="SUBACK and UNSUBACK for what was not asked", hears="everything once"),
    Row(key="puback", fault="PUBACK for what was not sent", hears="everything once"),
    Row(key="latin", fault="topic that is no UTF-8, or holds a wildcard", hears="everything once"),
    Row(key="qos3", fault="PUBLISH with QoS 3", hears="a new connection; everything once"),
    Row(key="absurd", fault="packet of 256 MB announced, and never sent", hears="a new connection; outcomes again with their id"),
    Row(key="endless", fault="packet whose length has no end", hears="a new connection; everything once"),
    Row(key="levels", fault="request on 60 KB of levels", hears="no answer to it; everything once"),
    Row(key="hangs_up", fault="hangs up at every CONNECT of MQTT 5", hears="everything once, in 3.1.1"),
    Row(key="unheard", fault="SUBACK: Not authorized, of the requests", hears="nothing until it is allowed; then everything once"),
    Row(key="quota", fault="PUBACK: Quota exceeded, three times", hears="the outcome once it is taken, then the next"),
    Row(key="unknown", fault="PUBACK: a reason that the standard does not list for it, three times", hears="the outcome once it is taken, then the next"),
    Row(key="nobody", fault="PUBACK: No matching subscribers", hears="everything once"),
    Row(key="small", fault="Maximum Packet Size below an outcome's", hears="all but that outcome", holds="all acknowledged; the log tells of the one left out"),
    Row(key="too_large", fault="DISCONNECT: Packet too large, of an outcome", hears="all but that outcome", holds="all acknowledged; the log tells of the one left out"),
    Row(key="one_by_one", fault="Receive Maximum 1", hears="everything once; never two unacknowledged"),
    Row(key="refusals", fault="every refusal that a CONNACK can say, in 3.1.1 and 5", hears="nothing until it lets us in; then everything once"),
    Row(key="farewells", fault="every DISCONNECT that a broker can say", hears="a new connection after each, `online` each time"),
)  # fmt: skip
