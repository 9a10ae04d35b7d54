"""GetResources as AWS answers it: classic balancers under the type that v2 ones have, pages of 100, no hidden caps."""

from itertools import count
from typing import Any

from moto.core.resource_tagging import TaggedResource
from moto.elb.models import ELBBackend
from moto.resourcegroupstaggingapi.exceptions import ResourceGroupsTaggingAPIError
from moto.resourcegroupstaggingapi.models import ResourceGroupsTaggingAPIBackend
from moto.resourcegroupstaggingapi.responses import ResourceGroupsTaggingAPIResponse

from local.strict.overlay import lay

_serial = count(1)


class _ClassicBalancers:
    def iter_tagged_resources(self: Any) -> Any:
        for balancer in self.load_balancers.values():
            arn = f"arn:aws:elasticloadbalancing:{self.region_name}:{self.account_id}:loadbalancer/{balancer.name}"
            yield TaggedResource(arn, dict(balancer.tags), "elasticloadbalancing:loadbalancer")


class _Pages:
    def get_resources(self: Any, pagination_token: Any = None, resources_per_page: int = 100, **filters: Any) -> Any:
        filters.pop("tags_per_page", None)
        if pagination_token and pagination_token not in self._pages:
            raise ResourceGroupsTaggingAPIError("PaginationTokenExpiredException", "Token does not exist")
        # A snapshot: moto's own lazy walk breaks when a balancer is created between two pages.
        left = self._pages.pop(pagination_token) if pagination_token else list(self._get_resources_generator(**filters))
        page, left = left[:resources_per_page], left[resources_per_page:]
        if not left:
            return "", page
        token = f"page-{next(_serial)}"
        self._pages[token] = left
        return token, page


_get_resources = ResourceGroupsTaggingAPIResponse.get_resources


class _Defaults:
    def get_resources(self: Any) -> Any:
        self.params.setdefault("ResourcesPerPage", 100)
        return _get_resources(self)


def apply() -> None:
    """Lays the corrections over moto's tagging API and classic ELB."""
    lay(_ClassicBalancers, ELBBackend)
    lay(_Pages, ResourceGroupsTaggingAPIBackend)
    lay(_Defaults, ResourceGroupsTaggingAPIResponse)
