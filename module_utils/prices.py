# SPDX-License-Identifier: Apache-2.0
"""List prices: AWS's own where it lets one read them, else those of the dated table beside this file."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

API_REGION = "us-east-1"  # the Price List API knows all regions, and answers in a few
API_NAME = "AWS Price List API"
# The answer is wanted soon or not at all: there is a table
API_CONFIG = {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}
EVERYWHERE = "everywhere"
INSTANCE = "instance-hour"


@dataclass(frozen=True)
class Item:
    """Something that AWS has a price for.

    Attributes:
        unit: What the price is for.
        service: The service's code in the price list.
        usage_type: The product's usage type, without the prefix that it has in most regions.
        filters: More of the product's attributes.
        region: The attribute that names the region; empty where the price is the same everywhere.
    """

    unit: str
    service: str
    usage_type: str
    filters: tuple[tuple[str, str], ...] = ()
    region: str = "regionCode"


ITEMS = {
    INSTANCE: Item(
        "hour",
        "AmazonEC2",
        "BoxUsage:{type}",
        (
            ("instanceType", "{type}"),
            ("operatingSystem", "Linux"),
            ("tenancy", "Shared"),
            ("preInstalledSw", "NA"),
            ("capacitystatus", "Used"),
        ),
    ),
    "cpu-hour": Item(
        "hour of a processor",
        "AmazonEC2",
        "CPUCredits:t3",
        (("productFamily", "CPU Credits"), ("operatingSystem", "Linux")),
    ),
    "address-hour": Item(
        "hour", "AmazonVPC", "PublicIPv4:InUseAddress", (("group", "VPCPublicIPv4Address"),)
    ),
    "gp3-gb-month": Item("GB-month", "AmazonEC2", "EBS:VolumeUsage.gp3", (("volumeApiName", "gp3"),)),
    "ecr-gb-month": Item("GB-month", "AmazonECR", "TimedStorage-ByteHrs"),
    "s3-gb-month": Item("GB-month", "AmazonS3", "TimedStorage-ByteHrs", (("volumeType", "Standard"),)),
    "alarm-month": Item("month", "AmazonCloudWatch", "CW:AlarmMonitorUsage"),
    "metric-month": Item("month", "AmazonCloudWatch", "CW:MetricMonitorUsage"),
    "logs-gb": Item("GB", "AmazonCloudWatch", "DataProcessing-Bytes"),
    "logs-gb-month": Item("GB-month", "AmazonCloudWatch", "TimedStorage-ByteHrs"),
    "mail": Item("mail", "AmazonSNS", "DeliveryAttempts-SMTP", (("endpointType", "SMTP"),)),
    "traffic-gb": Item(
        "GB",
        "AWSDataTransfer",
        "DataTransfer-Out-Bytes",
        (("transferType", "AWS Outbound"),),
        "fromRegionCode",
    ),
    "zone-month": Item("month", "AmazonRoute53", "HostedZone", region=""),
    "cost-explorer-request": Item("request", "AWSCostExplorer", "APIRequest", region=""),
}


@dataclass(frozen=True)
class Price:
    """What one unit costs in USD, who says so, and of which day that is."""

    usd: Decimal
    source: str
    date: datetime.date


def name_of(item: str, instance_type: str) -> str:
    """How the table calls an item."""
    return f"{item} {instance_type}" if item == INSTANCE else item


class Table:
    """The dated table: of each price, where it was read and when."""

    def __init__(self, path: str) -> None:
        self.data: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))

    def price(self, region: str, item: str, instance_type: str = "") -> Price | None:
        """Look a price up; None where the table has none."""
        place = region if ITEMS[item].region else EVERYWHERE
        found = self.data["prices"].get(place, {}).get(name_of(item, instance_type))
        if found is None:
            return None
        source = self.data["sources"][found["source"]]
        return Price(Decimal(found["usd"]), source["name"], datetime.date.fromisoformat(source["date"]))


class PriceList:
    """The Price List API.

    Attributes:
        refusal: The error that it gave; it is not asked again after one.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - botocore makes its class at run time
        self.client = client
        self.refusal: Exception | None = None
        self.answers: dict[object, list[dict[str, Any]]] = {}

    def price(self, region: str, item: str, instance_type: str = "") -> Price | None:
        """Ask for a price; None where AWS has no such product, or does not say."""
        wanted = ITEMS[item]
        filters = [(field, value.format(type=instance_type)) for field, value in wanted.filters]
        if wanted.region:
            filters.append((wanted.region, region))
        # Most regions have a prefix, as in EUC1-BoxUsage:t3.medium
        usage_type = re.compile(
            "(?:[A-Z]+[0-9]*-)?" + re.escape(wanted.usage_type.format(type=instance_type))
        )
        found = [
            usd
            for product in self._products(wanted.service, tuple(filters))
            if usage_type.fullmatch(product["product"]["attributes"].get("usagetype", ""))
            if (usd := first_paid_step(product)) is not None
        ]
        # Where several products match, rather too much than too little
        return Price(max(found), API_NAME, datetime.datetime.now(datetime.UTC).date()) if found else None

    def _products(self, service: str, filters: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
        asked = (service, filters)
        if asked not in self.answers and self.refusal is None:
            try:
                self.answers[asked] = list(self._read(service, filters))
            except (BotoCoreError, ClientError) as error:
                self.refusal = error
        return self.answers.get(asked, [])

    def _read(self, service: str, filters: tuple[tuple[str, str], ...]) -> Iterator[dict[str, Any]]:
        pages = self.client.get_paginator("get_products").paginate(
            ServiceCode=service,
            FormatVersion="aws_v1",
            Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters],
        )
        for page in pages:
            for product in page["PriceList"]:  # each is JSON in a string
                yield json.loads(product)


def first_paid_step(product: dict[str, Any]) -> Decimal | None:
    """The price on demand, of the first step that is not free; None where there is none in USD."""
    steps = [
        (Decimal(step["beginRange"]), Decimal(step["pricePerUnit"]["USD"]))
        for offer in product.get("terms", {}).get("OnDemand", {}).values()
        for step in offer["priceDimensions"].values()
        if "USD" in step["pricePerUnit"]
    ]
    paid = sorted(step for step in steps if step[1] > 0)
    return paid[0][1] if paid else None
