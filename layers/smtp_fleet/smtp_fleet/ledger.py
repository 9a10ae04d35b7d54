"""The one small DynamoDB table that remembers what the APIs of AWS do not tell.

Rows: `machine/INSTANCE/VOLUME`, `off/BALANCER/PORT`, `off/group:GROUP/0`, `hook/GROUP`, `findings/BALANCERS`,
`around/BALANCERS`, `refused/BALANCERS/PORT`, `attached/BALANCERS/PORT`, `breaker/GROUP`, one each of `hooks` and
`balancers`, and one `lease`. Losing it costs one round of asks and one settle time. It encodes and decodes; what may be
written when is the business of `evidence` and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from smtp_fleet.evidence import Ask, Machine, Record, Verb
from smtp_fleet.fleet import Attachment, Breaker, Found, Index, Refusal
from smtp_fleet.outcome import Outcome

KEPT = 40 * 86_400
"""Seconds for which a row of a machine, a balancer or a group is kept after it was last written: 40 days.

What lives on is simply asked, or seen off, anew after that: an absent row never counts for more than not known.
"""


class Superseded(Exception):
    """The row changed since it was read: somebody else wrote it, and what was about to be written is out of date."""


class Ledger:
    """The stack's ledger table."""

    def __init__(self, client: Any, table: str) -> None:
        self._dynamodb = client
        self._table = table

    def take_lease(self, holder: str, now: int, seconds: int) -> bool:
        """Take the stack's one lease; False while somebody else holds it."""
        return self._put(
            {"id": {"S": "lease"}, "holder": {"S": holder}, "until": _number(now + seconds)},
            "attribute_not_exists(id) OR #until < :now OR holder = :holder",
            {":now": _number(now), ":holder": {"S": holder}},
            {"#until": "until"},
        )

    def give_back_lease(self, holder: str) -> None:
        """Give the lease back; nothing happens where it was lost meanwhile."""
        self._unless_refused(
            self._dynamodb.delete_item,
            Key={"id": {"S": "lease"}},
            ConditionExpression="holder = :holder",
            ExpressionAttributeValues={":holder": {"S": holder}},
        )

    def records(self, machines: Iterable[Machine]) -> dict[Machine, Record]:
        """The record of each machine; an empty one for a machine that was never asked anything."""
        wanted = list(machines)
        items = self._get(_machine_id(machine) for machine in wanted)
        return {m: _record(m, items.get(_machine_id(m), {})) for m in wanted}

    def write(self, old: Record, new: Record) -> None:
        """Replace a machine's record; raises Superseded where it is no longer what was read."""
        if not self._put(_item(new), *_unchanged(old)):
            raise Superseded(_machine_id(old.machine))

    def forget(self, machine: Machine) -> None:
        """Strike a machine out."""
        self._delete(_machine_id(machine))

    def off_since(self, ports: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Since when each (balancer, instance port) is known off, where it is."""
        ids = {_off_id(*port): port for port in ports}
        return {ids[row]: int(item["since"]["N"]) for row, item in self._get(ids).items()}

    def record_off(self, balancer: str, port: int, now: int) -> None:
        """Write down that a balancer was seen off; an earlier time stays."""
        row = {"id": {"S": _off_id(balancer, port)}, "since": _number(now), "expires": _number(now + KEPT)}
        self._put(row, "attribute_not_exists(id)")

    def forget_off(self, balancer: str, port: int) -> None:
        """Strike out that a balancer is off: it is about to send, or does."""
        self._delete(_off_id(balancer, port))

    def cutovers(self, fleet: str, ports: Iterable[int]) -> tuple[dict[int, Refusal], dict[int, Attachment]]:
        """The ports of a fleet on which a cutover was refused, and those to which the policy was attached lately."""
        refused = {f"refused/{fleet}/{port}": port for port in ports}
        attached = {f"attached/{fleet}/{port}": port for port in refused.values()}
        rows = self._get(refused | attached)
        return (
            {
                port: Refusal(rows[row]["why"]["S"], _count(rows[row], "times"), _count(rows[row], "until"))
                for row, port in refused.items()
                if row in rows
            },
            {
                port: Attachment(_count(rows[row], "times"), _count(rows[row], "at"))
                for row, port in attached.items()
                if row in rows
            },
        )

    def record_attachment(self, fleet: str, port: int, attachment: Attachment) -> None:
        """Write down that the policy is about to be attached."""
        row = {
            "id": {"S": f"attached/{fleet}/{port}"},
            "times": _number(attachment.times),
            "at": _number(attachment.at),
        }
        self._put(row | {"expires": _number(attachment.at + KEPT)})

    def forget_attachment(self, fleet: str, port: int) -> None:
        """Strike out that the policy was attached."""
        self._delete(f"attached/{fleet}/{port}")

    def record_refusal(self, fleet: str, port: int, refusal: Refusal) -> None:
        """Write down that a cutover was refused."""
        row = {"id": {"S": f"refused/{fleet}/{port}"}, "why": {"S": refusal.why}}
        row |= {"times": _number(refusal.times), "until": _number(refusal.until)}
        self._put(row | {"expires": _number(refusal.until + KEPT)})

    def hasten(self, fleet: str, refusals: Mapping[int, Refusal], now: int) -> dict[int, Refusal]:
        """Let no refusal hold any longer, and the next one count as the first; gives them as they are then."""
        over = {port: Refusal(known.why, 0, min(known.until, now)) for port, known in refusals.items()}
        for port, refusal in over.items():
            self.record_refusal(fleet, port, refusal)
        return over

    def forget_refusals(self, fleet: str, ports: Iterable[int]) -> None:
        """Strike out that a cutover was refused on these ports."""
        for port in ports:
            self._delete(f"refused/{fleet}/{port}")

    def findings(self, fleet: str) -> Found:
        """What was found wrong with a fleet, and with what is around it, when last each was looked at."""
        within, around = f"findings/{fleet}", f"around/{fleet}"
        rows = self._get([within, around])
        at = _count(rows[around], "at") if around in rows else 0
        return Found(_texts(rows.get(within)), _texts(rows.get(around)), at)

    def record_findings(self, fleet: str, findings: Iterable[str]) -> None:
        """Write down what is wrong with a fleet now; nothing is no row."""
        texts = [{"S": text} for text in findings]
        if texts:
            self._put({"id": {"S": f"findings/{fleet}"}, "texts": {"L": texts}})
        else:
            self._delete(f"findings/{fleet}")

    def record_around(self, fleet: str, findings: Iterable[str], now: int) -> None:
        """Write down what is wrong around a fleet, looked at now."""
        row = {"id": {"S": f"around/{fleet}"}, "texts": {"L": [{"S": text} for text in findings]}, "at": _number(now)}
        self._put(row | {"expires": _number(now + KEPT)})

    def forget_around(self, fleet: str) -> None:
        """Strike out what is wrong around a fleet: it does not send any more."""
        self._delete(f"around/{fleet}")

    def groups(self, names: Iterable[str]) -> tuple[dict[str, int], dict[str, Breaker]]:
        """Since when our hook is known to be on each group, where it is; and what is known of launches given up."""
        hooks = {f"hook/{name}": name for name in names}
        breakers = {f"breaker/{name}": name for name in hooks.values()}
        rows = self._get(hooks | breakers)
        return (
            {name: _count(rows[row], "since") for row, name in hooks.items() if row in rows},
            {name: _breaker(rows[row]) for row, name in breakers.items() if row in rows},
        )

    def record_breaker(self, group: str, breaker: Breaker) -> None:
        """Write down which launches of a group were given up."""
        row = {"id": {"S": f"breaker/{group}"}, "given_up": {"L": [{"S": i} for i in breaker.given_up]}}
        row |= {"at": _number(breaker.at), "expires": _number(breaker.at + KEPT)}
        self._put(row | {"configuration": {"S": breaker.configuration}, "why": {"S": breaker.why}})

    def close_breaker(self, group: str) -> None:
        """Strike out that launches of a group were given up."""
        self._delete(f"breaker/{group}")

    def index(self) -> Index:
        """Every group that may have our hook, and every balancer whose instances may expect the header."""
        rows = self._get(["hooks", "balancers"])
        names = {row: frozenset(item.get("names", {}).get("SS", ())) for row, item in rows.items()}
        return Index(names.get("hooks", frozenset()), names.get("balancers", frozenset()))

    def record_balancer(self, balancer: str) -> None:
        """Write down that instances behind a balancer may come to expect the header."""
        self._index("balancers", "ADD", balancer)

    def forget_balancer(self, balancer: str) -> None:
        """Strike out that instances behind a balancer may expect the header."""
        self._index("balancers", "DELETE", balancer)

    def expect_hook(self, group: str) -> None:
        """Write down that our hook is about to be put on a group."""
        self._index("hooks", "ADD", group)

    def record_hook(self, group: str, now: int) -> None:
        """Write down that our hook was read back on a group."""
        self._put({"id": {"S": f"hook/{group}"}, "since": _number(now)})

    def void_hook(self, group: str) -> None:
        """Strike out since when our hook is on a group: it is about to go."""
        self._delete(f"hook/{group}")

    def forget_hook(self, group: str) -> None:
        """Strike out that a group may have our hook: it is gone."""
        self._index("hooks", "DELETE", group)

    def _index(self, row: str, verb: str, name: str) -> None:
        self._dynamodb.update_item(
            TableName=self._table,
            Key={"id": {"S": row}},
            UpdateExpression=f"{verb} #names :names",
            ExpressionAttributeNames={"#names": "names"},
            ExpressionAttributeValues={":names": {"SS": [name]}},
        )

    def _delete(self, row: str) -> None:
        self._dynamodb.delete_item(TableName=self._table, Key={"id": {"S": row}})

    def _get(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows that exist, read consistently (BatchGetItem: at most 100 keys, and it may leave some for later)."""
        found: dict[str, dict[str, Any]] = {}
        rest = [{"id": {"S": row}} for row in ids]
        while rest:
            request = {self._table: {"Keys": rest[:100], "ConsistentRead": True}}
            answer = self._dynamodb.batch_get_item(RequestItems=request)
            left = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            rest = rest[100:] + left
            found |= {item["id"]["S"]: item for item in answer["Responses"].get(self._table, [])}
        return found

    def _put(
        self,
        item: dict[str, Any],
        condition: str = "",
        values: dict[str, Any] | None = None,
        names: dict[str, str] | None = None,
    ) -> bool:
        optional = {
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ExpressionAttributeNames": names,
        }
        return self._unless_refused(self._dynamodb.put_item, Item=item, **{k: v for k, v in optional.items() if v})

    def _unless_refused(self, call: Any, **arguments: Any) -> bool:
        try:
            call(TableName=self._table, **arguments)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _machine_id(machine: Machine) -> str:
    return f"machine/{machine.instance_id}/{machine.volume}"


def _off_id(balancer: str, port: int) -> str:
    return f"off/{balancer}/{port}"


def _texts(item: dict[str, Any] | None) -> frozenset[str]:
    return frozenset(text["S"] for text in item["texts"]["L"]) if item else frozenset()


def _count(item: dict[str, Any], field: str) -> int:
    return int(item[field]["N"])


def _breaker(item: dict[str, Any]) -> Breaker:
    given_up = tuple(i["S"] for i in item["given_up"]["L"])
    return Breaker(given_up, _count(item, "at"), item["configuration"]["S"], item["why"]["S"])


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _ports(ports: Iterable[int]) -> dict[str, Any]:
    return {"L": [_number(port) for port in sorted(ports)]}


def _unchanged(old: Record) -> tuple[str, dict[str, Any]]:
    """The row is as it was read: each write that anybody else could have to respect changes one of these."""
    item = _item(old)
    fields = ("epoch", "asked_at", "command_id", "answered", "outcome", "admitted")
    condition = " AND ".join(f"{field} = :{field}" for field in fields)
    absent = "attribute_not_exists(id) OR " if old == Record(old.machine) else ""
    return absent + condition, {f":{field}": item[field] for field in fields}


def _item(record: Record) -> dict[str, Any]:
    ask = record.ask
    return {
        "id": {"S": _machine_id(record.machine)},
        "verb": {"S": ask.verb.value if ask else ""},
        "ports": _ports(ask.ports if ask else ()),
        "epoch": _number(ask.epoch if ask else 0),
        "asked_at": _number(record.asked_at),
        "cause": {"S": record.cause},
        "command_id": {"S": record.command_id},
        "sent_at": _number(record.sent_at),
        "answered": _number(record.answered),
        "outcome": {"S": record.outcome.value if record.outcome else ""},
        "reason": {"S": record.reason},
        "stored": _number(record.stored),
        "proxy": _ports(record.proxy),
        "plain": _ports(record.plain),
        "admitted": {"BOOL": record.admitted},
        "owner": {"S": record.owner},
        "overwritten": _number(record.overwritten),
        "overwritten_at": _number(record.overwritten_at),
        "unheard": _number(record.unheard),
        "tries": _number(record.tries),
        "told": _ports(record.told),
        "first_asked_at": _number(record.first_asked_at),
        "admitted_at": _number(record.admitted_at),
        "held_at": _number(record.held_at),
        "expires": _number(record.asked_at + KEPT),
    }


def _record(machine: Machine, item: dict[str, Any]) -> Record:
    if not item:
        return Record(machine)

    def ports(field: str) -> frozenset[int]:
        return frozenset(int(n["N"]) for n in item[field]["L"])

    def number(field: str) -> int:
        return int(item[field]["N"])

    verb, outcome = item["verb"]["S"], item["outcome"]["S"]
    return Record(
        machine=machine,
        ask=Ask(Verb(verb), ports("ports"), number("epoch")) if verb else None,
        asked_at=number("asked_at"),
        cause=item["cause"]["S"],
        command_id=item["command_id"]["S"],
        sent_at=number("sent_at"),
        answered=number("answered"),
        outcome=Outcome(outcome) if outcome else None,
        reason=item["reason"]["S"],
        stored=number("stored"),
        proxy=ports("proxy"),
        plain=ports("plain"),
        admitted=item["admitted"]["BOOL"],
        # A row that an older version of the stack wrote has none of these.
        owner=item.get("owner", {}).get("S", ""),
        told=ports("told") if "told" in item else frozenset(),
        first_asked_at=number("first_asked_at" if "first_asked_at" in item else "asked_at"),
        **{field: int(item.get(field, {}).get("N", 0)) for field in _LATER},
    )


_LATER = ("overwritten", "overwritten_at", "unheard", "tries", "admitted_at", "held_at")
