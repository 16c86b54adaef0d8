"""cost_estimate, with the Price List API of the rehearsal and without it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws import ROOT, Rehearsal
from tests.modules.running import Outcome, RunModule

TABLE = ROOT / "module_utils/prices.json"
MACHINE = {"what": "machine", "item": "instance-hour", "instance_type": "t3.medium", "billed": "while-on"}
STAGE = [
    MACHINE,
    {"what": "address", "item": "address-hour"},
    {"what": "disk", "item": "gp3-gb-month", "quantity": 30},
    {"what": "images", "item": "ecr-gb-month", "billed": "by-use", "note": "their size"},
    {"what": "identities", "item": "free"},
    {"what": "alarms", "item": "alarm-month", "quantity": 0},
]
NO_RIGHTS = [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]

AsUser = Callable[[list[dict[str, Any]]], dict[str, str]]


@pytest.fixture
def estimate(run_module: RunModule) -> Callable[..., Outcome]:
    """Run the module for the stage; what is given differs from the usual."""

    def run(environment: dict[str, str] | None = None, **different: Any) -> Outcome:
        usual = {"region": "eu-central-1", "hours": 10, "lines": STAGE, "table": str(TABLE)}
        return run_module("cost_estimate", usual | different, environment=environment)

    return run


def totals(outcome: Outcome) -> tuple[float, float, float]:
    """Return what the three columns add up to."""
    return outcome.result["off"], outcome.result["hour"], outcome.result["month"]


def test_prices_of_the_api(estimate: Callable[..., Outcome]) -> None:
    outcome = estimate()
    assert totals(outcome) == (6.51, 0.048, 6.99)
    assert not outcome.changed
    assert not outcome.result["from_table"]
    assert {line["source"] for line in outcome.result["lines"]} == {"AWS Price List API", ""}
    assert "Prices: AWS Price List API, asked now." in outcome.result["sheet"]


def test_prices_of_the_table_when_iam_refuses(estimate: Callable[..., Outcome], as_user: AsUser) -> None:
    outcome = estimate(environment=as_user(NO_RIGHTS))
    assert totals(outcome) == (6.51, 0.048, 6.99)
    assert outcome.result["from_table"]
    sheet = outcome.result["sheet"]
    assert "days ago" in sheet
    assert "`make prices` refreshes them" in sheet
    assert "lack the right pricing:GetProducts" in sheet


def test_prices_of_the_table_without_credentials(
    rehearsal: Rehearsal, estimate: Callable[..., Outcome], tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(f"[profile {rehearsal.env['AWS_PROFILE']}]\n")
    nobody = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    outcome = estimate(environment=nobody | {"AWS_EC2_METADATA_DISABLED": "true"})
    assert totals(outcome) == (6.51, 0.048, 6.99)
    assert "No AWS credentials found" in outcome.result["sheet"]


def test_hours_count_only_for_what_is_on(estimate: Callable[..., Outcome]) -> None:
    assert totals(estimate(hours=0))[2] == 6.51
    assert totals(estimate(hours=730))[2] == 6.51 + 35.04


def test_sheet_shows_every_line(estimate: Callable[..., Outcome]) -> None:
    sheet = estimate().result["sheet"]
    rows = [" ".join(line.split()) for line in sheet.splitlines()]
    assert rows[1:4] == [
        "machine 1 x 0.048 per hour - 0.0480 0.48",
        "address 1 x 0.005 per hour 3.65 - 3.65",
        "disk 30 x 0.0952 per GB-month 2.86 - 2.86",
    ]
    assert "images: 0.10 per GB-month; their size" in sheet
    assert "Free: identities" in sheet
    assert "free tiers and credits of your account are not taken off" in sheet
    assert "alarms" not in sheet


def test_watching_costs_more(estimate: Callable[..., Outcome]) -> None:
    watch = [
        {"what": "alarms", "item": "alarm-month", "quantity": 6},
        {"what": "figures", "item": "metric-month", "quantity": 3, "billed": "while-on"},
    ]
    # the first paid step of each: 10,000 figures cost more than those after them
    assert totals(estimate(lines=watch, hours=730)) == (0.6, 0.0012, 1.5)


def test_first_mails_are_free_but_the_price_is_that_of_the_others(estimate: Callable[..., Outcome]) -> None:
    [line] = estimate(lines=[{"what": "mails", "item": "mail", "billed": "by-use"}]).result["lines"]
    assert line["usd"] == 0.00002
    assert not line["counted"]


def test_type_that_only_the_api_knows(estimate: Callable[..., Outcome], as_user: AsUser) -> None:
    lines = [MACHINE | {"instance_type": "t3.2xlarge"}]
    assert totals(estimate(lines=lines))[1] == 0.384
    refused = estimate(environment=as_user(NO_RIGHTS), lines=lines)
    assert refused.failed
    assert "There is no price for t3.2xlarge in eu-central-1" in refused.message
    assert "pricing:GetProducts" in refused.message
    assert "`make prices`" in refused.message


def test_region_that_only_the_table_knows(estimate: Callable[..., Outcome]) -> None:
    outcome = estimate(region="eu-west-1")
    assert totals(outcome) == (6.29, 0.0456, 6.75)
    assert outcome.result["from_table"]


def test_type_that_nobody_knows(estimate: Callable[..., Outcome]) -> None:
    outcome = estimate(lines=[MACHINE | {"instance_type": "t9.huge"}])
    assert outcome.failed
    assert "There is no price for t9.huge in eu-central-1" in outcome.message
    assert "Check the instance type and the region" in outcome.message


def test_more_hours_than_a_month_has(estimate: Callable[..., Outcome]) -> None:
    outcome = estimate(hours=1000)
    assert outcome.failed
    assert "A month has 730 hours" in outcome.message


def test_every_price_of_the_table_has_a_source_and_a_date() -> None:
    table = json.loads(Path(TABLE).read_text())
    used = {price["source"] for prices in table["prices"].values() for price in prices.values()}
    assert used == set(table["sources"])
    assert all(source["name"] and source["date"] for source in table["sources"].values())
