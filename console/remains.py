"""What of ours is in a Region: load balancers to be tagged `disabled`, and what is not taken off yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smtp_fleet import retirement
from smtp_fleet.autoscaling import Groups
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.fleet import LoadBalancer, our_ports, ours
from smtp_fleet.ledger import Ledger
from smtp_fleet.settings import Marks
from smtp_fleet.tag import Tags, wish


class Remains:
    """All that a stack with these marks has put on others in one Region; its `table` tells more, where it is known."""

    def __init__(self, client: Callable[[str], Any], told: Marks, table: str = "") -> None:
        self._elb, self._told = client("elb"), told
        self._ledger = Ledger(client("dynamodb"), table) if table else None
        self._balancers = LoadBalancers(self._elb, client("resourcegroupstaggingapi"))
        self._groups = Groups(client("autoscaling"))
        self._sent: set[tuple[str, int]] = set()

    def to_disable(self) -> dict[str, str]:
        """Each load balancer of ours that is not yet tagged `disabled`, and what it is."""
        found = {b.name: tags.value for b, tags in self._ours()}
        return {
            name: "not tagged, and sends by our policy" if value is None else f"tagged {value!r}"
            for name, value in found.items()
            if value != "disabled"
        }

    def disable(self, say: Callable[[str], None]) -> None:
        """Tag each of them `disabled`; the functions take it from there."""
        for name in self.to_disable():
            try:
                self._elb.add_tags(LoadBalancerNames=[name], Tags=[{"Key": self._told.tag_key, "Value": "disabled"}])
            except self._elb.exceptions.AccessPointNotFoundException:
                say(f"load balancer {name} is gone")
            else:
                say(f"load balancer {name} is tagged disabled")

    def left(self) -> tuple[str, ...]:
        """What stands against deleting the stack, the ports included that only a tag which we overwrote had named."""
        found = self._ours()
        sends = tuple(sends_on(b.name, port) for b, _ in found for port in b.backend if self._still_sends(b, port))
        against = retirement.observe(self._balancers, self._groups, self._recorded(), self._told)
        return tuple(dict.fromkeys((*sends, *against)))

    def _recorded(self) -> frozenset[str]:
        return self._ledger.index().balancers if self._ledger else frozenset()

    def _still_sends(self, balancer: LoadBalancer, port: int) -> bool:
        return (balancer.name, port) in self._sent and balancer.sends(port)

    def _ours(self) -> list[tuple[LoadBalancer, Tags]]:
        told = self._told
        tags = self._balancers.tagged(told.tag_key)
        seen = [(b, tags.get(b.name, Tags())) for b in self._balancers.read_all(tags, told.policy_name)]
        found = [(b, said) for b, said in seen if ours(b, wish(said, told.mail_ports), told.policy_name)]
        # Which ports are ours its tag may tell, and we overwrite the tag: what was seen once is kept.
        self._sent |= {(b.name, port) for b, said in found for port in our_ports(b, wish(said, told.mail_ports), told)}
        return found


def sends_on(balancer: str, port: int) -> str:
    """What is left where a load balancer sends, in the words of the guard."""
    return f"load balancer {balancer} sends the header on instance port {port}"
