#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what a month of some resources costs."""

DOCUMENTATION = r"""
---
module: cost_estimate
short_description: Say what a month of some resources costs, line by line
description:
  - Multiplies quantities by AWS's list prices on demand, in USD and without tax. Free tiers and credits
    of the account are not taken off.
  - Prices are asked of the AWS Price List API. Where it does not let the caller read them, or has no such
    product, they come from a dated table, and the result says so.
  - Creates nothing. It works without any credentials, from the table.
author:
  - The Matinee authors
options:
  lines:
    description: What is to be priced, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      what:
        description: What it is called on the sheet.
        type: str
        required: true
      item:
        description:
          - Which price applies. V(free) is for what AWS does not charge for.
        type: str
        required: true
        choices:
          - address-hour
          - alarm-month
          - cost-explorer-request
          - cpu-hour
          - ecr-gb-month
          - free
          - gp3-gb-month
          - instance-hour
          - logs-gb
          - logs-gb-month
          - mail
          - metric-month
          - s3-gb-month
          - traffic-gb
          - zone-month
      instance_type:
        description: The type, for O(lines[].item=instance-hour).
        type: str
        default: ""
      quantity:
        description: How many units at a time. A line with V(0) is left out.
        type: float
        default: 1
      billed:
        description:
          - V(always) counts every hour of the month, V(while-on) only those of O(hours).
          - V(by-use) depends on what is done with it. Its price is shown and not counted.
        type: str
        choices: [always, by-use, while-on]
        default: always
      note:
        description: What one should know about it; for V(by-use), what it depends on.
        type: str
        default: ""
  hours:
    description: Hours of a month for which the machine is on.
    type: float
    default: 0
  table:
    description: File with the dated table.
    type: path
    required: true
notes:
  - Needs the right C(pricing:GetProducts) to ask AWS; it cannot be limited to a resource. Asking is free.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: What the stage costs
  cost_estimate:
    region: eu-central-1
    hours: 10
    table: module_utils/prices.json
    lines:
      - what: t3.medium
        item: instance-hour
        instance_type: t3.medium
        billed: while-on
      - what: disk
        item: gp3-gb-month
        quantity: 30
      - what: images
        item: ecr-gb-month
        billed: by-use
        note: their size
  register: price

- name: Show it
  ansible.builtin.debug:
    msg: "{{ price.sheet }}"
"""

RETURN = r"""
lines:
  description: Each line that was not left out, with its price.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description: As it was given.
      type: str
    quantity:
      description: As it was given.
      type: float
    usd:
      description: Price of one unit, none where it is not known.
      type: float
    unit:
      description: What one unit is.
      type: str
    "off":
      description: USD a month while switched off.
      type: float
    hour:
      description: USD for each hour on, on top of that.
      type: float
    month:
      description: USD a month with O(hours) on.
      type: float
    counted:
      description: Whether it is part of the totals.
      type: bool
    source:
      description: Where the price comes from.
      type: str
    date:
      description: Day on which that was the price.
      type: str
"off":
  description: USD a month while switched off, all lines together.
  returned: success
  type: float
  sample: 6.51
hour:
  description: USD for each hour on, on top of that.
  returned: success
  type: float
  sample: 0.048
month:
  description: USD a month with O(hours) on.
  returned: success
  type: float
  sample: 6.99
from_table:
  description: Whether any price comes from the table.
  returned: success
  type: bool
sheet:
  description: All of this as a text for people.
  returned: success
  type: str
"""

import datetime
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ansible.module_utils.aws_errors import explain
from ansible.module_utils.prices import API_CONFIG, API_NAME, API_REGION, ITEMS, Price, PriceList, Table
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

MONTH_HOURS = 730  # as AWS counts a month
NOTHING = Decimal(0)
CENT = Decimal("0.01")
# Prices of an hour may be fractions of a cent
FRACTION = Decimal("0.0001")


def rounded(amount: Decimal, to: Decimal = CENT) -> Decimal:
    """Round as people do."""
    return amount.quantize(to, ROUND_HALF_UP)


@dataclass(frozen=True)
class Line:
    """A line of the sheet; each amount is rounded, so that the sheet adds up."""

    what: str
    item: str
    quantity: Decimal
    billed: str
    note: str
    price: Price | None
    hours: Decimal

    @property
    def unit(self) -> str:
        """What the price is for."""
        return ITEMS[self.item].unit if self.item in ITEMS else ""

    @property
    def counted(self) -> bool:
        """Whether it is part of the totals."""
        return self.item in ITEMS and self.billed != "by-use"

    @property
    def _amount(self) -> Decimal:
        """USD of an hour or a month, whichever the price is for."""
        return self.quantity * self.price.usd if self.price and self.counted else NOTHING

    @property
    def _hourly(self) -> Decimal:
        return self._amount if self.unit == "hour" else self._amount / MONTH_HOURS

    @property
    def off(self) -> Decimal:
        """USD a month while switched off."""
        if self.billed != "always":
            return NOTHING
        return rounded(self._amount * MONTH_HOURS if self.unit == "hour" else self._amount)

    @property
    def hour(self) -> Decimal:
        """USD for each hour on, on top of that."""
        return rounded(self._hourly, FRACTION) if self.billed == "while-on" else NOTHING

    @property
    def month(self) -> Decimal:
        """USD a month with the given hours on."""
        return self.off + (rounded(self._hourly * self.hours) if self.billed == "while-on" else NOTHING)

    def result(self) -> dict[str, Any]:
        """Return it as the module does."""
        return {
            "what": self.what,
            "quantity": float(self.quantity),
            "usd": float(self.price.usd) if self.price else None,
            "unit": self.unit,
            "off": float(self.off),
            "hour": float(self.hour),
            "month": float(self.month),
            "counted": self.counted,
            "source": self.price.source if self.price else "",
            "date": self.price.date.isoformat() if self.price else "",
        }


def plain(number: Decimal) -> str:
    """Write a number without needless zeros."""
    return f"{number.normalize():f}"


def price_of(line: Line) -> str:
    """Write the price of one unit, with cents at least."""
    if not line.price:
        return "price not known here"
    usd = line.price.usd.normalize()
    places = usd.as_tuple().exponent
    return f"{usd if isinstance(places, int) and places < -2 else rounded(usd):f} per {line.unit}"


def amount(usd: Decimal, places: int = 2) -> str:
    """Write an amount of a column."""
    return f"{usd:.{places}f}" if usd else "-"


def age(date: datetime.date) -> str:
    """Say how old a price is."""
    days = (datetime.datetime.now(datetime.UTC).date() - date).days
    return f"{date.isoformat()}, {days} days ago"


def origin(lines: list[Line], refusal: str) -> list[str]:
    """Say where the prices come from, and how old they are."""
    prices = [line.price for line in lines if line.price and line.counted]
    tabled = [price for price in prices if price.source != API_NAME]
    told = []
    if len(tabled) < len(prices):
        told.append(f"Prices: {API_NAME}, asked now.")
    if tabled:
        oldest, newest = (choose(price.date for price in tabled) for choose in (min, max))
        span = f"oldest of {age(oldest)}" + (f"; newest of {age(newest)}" if newest != oldest else "")
        which = "Prices" if len(tabled) == len(prices) else f"{len(tabled)} of {len(prices)} prices"
        told.append(f"{which}: module_utils/prices.json, {span}. `make prices` refreshes them.")
        told.append(
            f"AWS's own were not read: {refusal}" if refusal else "AWS's price list does not name them."
        )
    return told


def sheet(lines: list[Line], hours: Decimal, region: str, refusal: str) -> str:
    """Write all of it as a text of columns."""
    counted = [line for line in lines if line.counted]
    rows = [
        (
            line.what,
            f"{plain(line.quantity)} x {price_of(line)}",
            amount(line.off),
            amount(line.hour, 4),
            amount(line.month),
        )
        for line in counted
    ]
    head = (f"USD in {region}", "quantity x unit", "off", "per hour on", f"{plain(hours)} h on")
    totals = [
        sum((getattr(line, column) for line in counted), NOTHING) for column in ("off", "hour", "month")
    ]
    foot = ("a month", "", amount(totals[0]), amount(totals[1], 4), amount(totals[2]))
    width = [max(len(row[column]) for row in (head, foot, *rows)) for column in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(size) if column < 2 else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(row, width, strict=True))
        ).rstrip()
        for row in (head, *rows, foot)
    ]
    text.insert(-1, "-" * (sum(width) + 2 * (len(width) - 1)))
    if used := [line for line in lines if line.billed == "by-use" and line.item in ITEMS]:
        text += ["", "By use, not counted:"]
        text += [f"  {line.what}: {price_of(line)}{'; ' if line.note else ''}{line.note}" for line in used]
    if free := [line.what for line in lines if line.item not in ITEMS]:
        text += ["", f"Free: {', '.join(free)}"]
    if notes := [f"{line.what}: {line.note}" for line in counted if line.note]:
        text += ["", *notes]
    text += [
        "",
        "List prices on demand without tax; free tiers and credits of your account are not taken off.",
    ]
    return "\n".join(text + origin(lines, refusal))


def estimate(module: AnsibleAWSModule) -> None:
    """Price every line, or say which one has no price."""
    region, hours = module.region, Decimal(str(module.params["hours"]))
    if not 0 <= hours <= MONTH_HOURS:
        module.fail_json(msg=f"A month has {MONTH_HOURS} hours: it cannot be on for {plain(hours)} of them.")
    api = PriceList(module.client("pricing", region=API_REGION, aws_config=API_CONFIG))
    table = Table(module.params["table"])
    lines, unknown = [], []
    for given in module.params["lines"]:
        item, quantity = given["item"], Decimal(str(given["quantity"]))
        if not quantity:
            continue
        wanted = (region, item, given["instance_type"])
        price = (api.price(*wanted) or table.price(*wanted)) if item in ITEMS else None
        line = Line(given["what"], item, quantity, given["billed"], given["note"], price, hours)
        lines.append(line)
        if line.counted and not price:
            unknown.append(given["instance_type"] or line.what)
    refusal = explain(api.refusal, API_REGION) if api.refusal else ""
    if unknown:
        why = (
            f"AWS's own price list could not be read, and module_utils/prices.json has none: {refusal} "
            "Somebody with the right pricing:GetProducts can add them: `make prices` reads those of your "
            "settings."
            if refusal
            else "AWS's price list has no such thing. Check the instance type and the region."
        )
        module.fail_json(msg=f"There is no price for {', '.join(unknown)} in {region}. {why}")
    counted = [line for line in lines if line.counted]
    module.exit_json(
        changed=False,
        lines=[line.result() for line in lines],
        off=float(sum((line.off for line in counted), NOTHING)),
        hour=float(sum((line.hour for line in counted), NOTHING)),
        month=float(sum((line.month for line in counted), NOTHING)),
        from_table=any(line.price and line.price.source != API_NAME for line in lines),
        sheet=sheet(lines, hours, region, refusal),
    )


def main() -> None:
    """Run the module."""
    estimate(
        AnsibleAWSModule(
            argument_spec={
                "lines": {
                    "type": "list",
                    "elements": "dict",
                    "required": True,
                    "options": {
                        "what": {"type": "str", "required": True},
                        "item": {"type": "str", "required": True, "choices": sorted([*ITEMS, "free"])},
                        "instance_type": {"type": "str", "default": ""},
                        "quantity": {"type": "float", "default": 1},
                        "billed": {
                            "type": "str",
                            "choices": ["always", "by-use", "while-on"],
                            "default": "always",
                        },
                        "note": {"type": "str", "default": ""},
                    },
                },
                "hours": {"type": "float", "default": 0},
                "table": {"type": "path", "required": True},
            },
            supports_check_mode=True,
        )
    )


if __name__ == "__main__":
    main()
