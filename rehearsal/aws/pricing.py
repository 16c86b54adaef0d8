"""The Price List API, which moto lacks: GetProducts, in its own form, from the excerpt in pricing.json.

The names below are those by which moto finds a service's parts.
"""

import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from moto import backend_index
from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.exceptions import JsonRESTError
from moto.core.responses import BaseResponse

EXCERPT = Path(__file__).with_name("pricing.json")
# AWS gives up to 100 products at a time; here few, so that pages are met
PAGE = 3
# AWS's codes for "on demand" and for "per unit", the same in all products
ON_DEMAND, PER_UNIT = "JRTCKXETXF", "6YS6EN2CT7"


class PricingBackend(BaseBackend):
    """The products of the excerpt."""

    @property
    def _url_module(self) -> ModuleType:
        return sys.modules[__name__]

    def products(self, service: str, wanted: dict[str, str]) -> list[str]:
        """Those of a service that have all the wanted attributes, each as JSON."""
        excerpt = json.loads(EXCERPT.read_text())
        return [
            json.dumps(_product(row, excerpt["published"]))
            for row in excerpt["products"]
            if row["attributes"]["servicecode"] == service
            if wanted.items() <= {**row["attributes"], "productFamily": row.get("family", "")}.items()
        ]


class PricingResponse(BaseResponse):
    """The API's requests."""

    def __init__(self) -> None:
        super().__init__(service_name="pricing")

    def get_products(self) -> str:
        """Answer GetProducts."""
        asked = json.loads(self.body)
        filters = asked.get("Filters", [])
        if any(one["Type"] != "TERM_MATCH" for one in filters):
            raise JsonRESTError("InvalidParameterException", "Only TERM_MATCH is known here.")
        backend = pricing_backends[self.current_account][self.region]
        found = backend.products(asked["ServiceCode"], {one["Field"]: one["Value"] for one in filters})
        start = int(asked.get("NextToken", 0))
        more = {"NextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        return json.dumps({"FormatVersion": "aws_v1", "PriceList": found[start : start + PAGE], **more})


def _product(row: dict[str, Any], published: str) -> dict[str, Any]:
    """A product with its one offer, as the API words it."""
    sku = sha256(json.dumps(row["attributes"]).encode()).hexdigest()[:16].upper()
    offer = f"{sku}.{ON_DEMAND}"
    steps = {
        f"{offer}.{PER_UNIT if start == '0' else sha256(start.encode()).hexdigest()[:10].upper()}": {
            "unit": row["unit"],
            "beginRange": start,
            "endRange": end,
            "pricePerUnit": {"USD": f"{float(usd):.10f}"},
            "description": f"${usd} per {row['unit']}",
            "appliesTo": [],
        }
        for start, end, usd in row["prices"]
    }
    family = {"productFamily": row["family"]} if "family" in row else {}
    return {
        "product": {**family, "attributes": row["attributes"], "sku": sku},
        "serviceCode": row["attributes"]["servicecode"],
        "terms": {
            "OnDemand": {
                offer: {
                    "priceDimensions": steps,
                    "sku": sku,
                    "effectiveDate": published,
                    "offerTermCode": ON_DEMAND,
                    "termAttributes": {},
                }
            }
        },
        "version": re.sub(r"\D", "", published),
        "publicationDate": published,
    }


url_bases = [r"https?://(api\.)?pricing\.(.+)\.amazonaws\.com"]
url_paths = {"{0}/$": PricingResponse.dispatch}
pricing_backends = BackendDict(PricingBackend, "pricing")


def install() -> None:
    """Make moto find the service."""
    sys.modules["moto.pricing"] = sys.modules[__name__]
    backend_index.backend_url_patterns.append(("pricing", re.compile(url_bases[0])))
