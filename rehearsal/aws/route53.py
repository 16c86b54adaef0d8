"""Route 53: the A records of its zones are what the VPC's resolver answers."""

import threading
from collections.abc import Callable

from moto.route53.models import Route53Backend, route53_backends

from .mend import mends
from .settings import ACCOUNT, PARTITION, RECORDS

_writing = threading.Lock()


def install() -> None:
    """Publish the records after every change, and now that there are none."""

    @mends(Route53Backend, "change_resource_record_sets")
    def change(
        original: Callable[..., None], backend: Route53Backend, *args: object, **kwargs: object
    ) -> None:
        original(backend, *args, **kwargs)
        _publish(backend)

    _publish(route53_backends[ACCOUNT][PARTITION])


def _publish(backend: Route53Backend) -> None:
    """Write a hosts file; dnsmasq sees it change."""
    with _writing:
        draft = RECORDS.with_name(".draft")
        draft.write_text(
            "".join(
                f"{address} {record.name.rstrip('.')}\n"
                for zone in backend.zones.values()
                for record in zone.rrsets
                if record.type == "A"
                for address in record.records
            )
        )
        draft.replace(RECORDS)
