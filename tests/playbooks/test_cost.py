"""Money: the price is said before anything is made, and the stage goes no further than was accepted."""

import json
import subprocess
import sys
from pathlib import Path

from tests.checkout import ACCOUNT, Checkout, Run, words
from tests.local_aws import Rehearsal

PROVISION = "./playbooks/provision.yml"  # written so that nothing is accepted unless the test does
ACCEPTED = "/ragstream/demo/accepted-monthly-cost"
MAIL = "owner@example.org"


def accepted(rehearsal: Rehearsal) -> list[str]:
    """Return what has been accepted, if anything."""
    found = rehearsal.boto("ssm").get_parameters(Names=[ACCEPTED])["Parameters"]
    return [parameter["Value"] for parameter in found]


def assert_nothing_made(rehearsal: Rehearsal) -> None:
    """Nothing of a stage is in the account, not even its lock."""
    assert not rehearsal.boto("ecr").describe_repositories()["repositories"]
    assert not rehearsal.boto("ec2").describe_key_pairs()["KeyPairs"]
    assert not rehearsal.boto("ec2").describe_addresses()["Addresses"]
    assert not rehearsal.boto("ssm").describe_parameters()["Parameters"]


def answer(checkout: Checkout, typed: str) -> Run:
    """Set up at a terminal, where somebody types an answer."""
    return checkout.play_at_terminal(
        PROVISION, asked="Type yes to go on", until="TASK [Only when", typed=typed
    )


def test_sheet_makes_nothing(rehearsal: Rehearsal, checkout: Checkout) -> None:
    run = checkout.passes("cost.yml")
    assert run.changed == 0
    assert "a month 6.51 0.0480 6.99" in words(run.output)
    assert "AWS Price List API, asked now" in run.output
    assert_nothing_made(rehearsal)


def test_nothing_that_a_module_is_given_touches_the_disk(checkout: Checkout) -> None:
    # Ansible's folder for it cannot even be made
    nowhere = checkout.environment | {"ANSIBLE_REMOTE_TEMP": "/proc/nowhere"}
    assert checkout.passes("cost.yml", environment=nowhere)


def test_settings_change_the_price(checkout: Checkout) -> None:
    different = {
        "monthly_hours": 100,
        "disk_gb": 100,
        "app_domain": "demo.example.org",
        "instance_type": "t3.large",
    }
    run = checkout.passes("cost.yml", "-e", json.dumps(different))
    # 100 x 0.096 and 0.005 x 730 and 100 x 0.0952 and 0.50
    assert "a month 13.67 0.0960 23.27" in words(run.output)


def test_without_acceptance_nothing_is_made(rehearsal: Rehearsal, checkout: Checkout) -> None:
    run = checkout.play(PROVISION)
    assert run.status != 0
    assert "a month 6.51 0.0480 6.99" in words(run.output)
    assert "Nothing was made or changed. This stage would cost 6.99 USD a month" in words(run.output)
    assert "-e accept_monthly_cost=7" in run.output
    assert_nothing_made(rehearsal)


def test_ceiling_that_is_too_low_or_none(rehearsal: Rehearsal, checkout: Checkout) -> None:
    low = checkout.play(PROVISION, "-e", "accept_monthly_cost=6.98")
    assert low.status != 0
    assert "more than the 6.98 you accept" in words(low.output)
    none = checkout.play(PROVISION, "-e", "accept_monthly_cost=cheap")
    assert none.status != 0
    assert "Give accept_monthly_cost a number of USD" in words(none.output)
    assert_nothing_made(rehearsal)


def test_check_shows_the_price_and_asks_nothing(rehearsal: Rehearsal, checkout: Checkout) -> None:
    run = checkout.passes(PROVISION, "--check")
    assert "a month 6.51 0.0480 6.99" in words(run.output)
    assert "TASK [Ask]" not in run.output
    assert_nothing_made(rehearsal)


def test_no_at_the_prompt(rehearsal: Rehearsal, checkout: Checkout) -> None:
    run = answer(checkout, "no")
    assert run.status != 0
    assert "Nothing was made or changed" in words(run.output)
    assert_nothing_made(rehearsal)


def test_yes_at_the_prompt_is_remembered(rehearsal: Rehearsal, checkout: Checkout) -> None:
    run = answer(checkout, "yes")
    assert run.status == 0, run.output[-4000:]
    assert accepted(rehearsal) == ["6.99"]


def test_nothing_is_made_that_the_sheet_does_not_show(rehearsal: Rehearsal) -> None:
    ec2 = rehearsal.boto("ec2")
    assert len(ec2.describe_addresses()["Addresses"]) == 1
    assert not ec2.describe_nat_gateways()["NatGateways"]
    assert not rehearsal.boto("elbv2").describe_load_balancers()["LoadBalancers"]


def test_asks_again_only_when_the_price_rises(rehearsal: Rehearsal, checkout: Checkout) -> None:
    checkout.settings(watch=True, notify_email=MAIL, budget_usd=12, cost_explorer=True)
    risen = checkout.play(PROVISION)
    assert risen.status != 0
    # 6 x 0.10 and 3 x 0.30 for 10 of 730 hours
    assert "would cost 7.60 USD a month, more than the 6.99 accepted before" in words(risen.output)
    assert not rehearsal.boto("cloudwatch").describe_alarms()["MetricAlarms"]
    checkout.passes(PROVISION, "-e", "accept_monthly_cost=8")
    assert accepted(rehearsal) == ["8"]
    assert len(rehearsal.boto("cloudwatch").describe_alarms()["MetricAlarms"]) == 6  # as the sheet says
    again = checkout.passes(PROVISION)
    assert again.changed == 0
    assert "TASK [Show the price]" not in again.output


def test_budget_is_as_asked(rehearsal: Rehearsal) -> None:
    budgets = rehearsal.boto("budgets")
    [budget] = budgets.describe_budgets(AccountId=ACCOUNT)["Budgets"]
    assert (budget["BudgetName"], float(budget["BudgetLimit"]["Amount"])) == ("ragstream-demo", 12)
    told = budgets.describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName="ragstream-demo")
    assert [one["Threshold"] for one in told["Notifications"]] == [50, 80, 100]


def test_status_says_what_the_month_has_cost(rehearsal: Rehearsal, checkout: Checkout) -> None:
    ec2 = rehearsal.boto("ec2")
    [reservation] = ec2.describe_instances()["Reservations"]
    machine = {"InstanceIds": [reservation["Instances"][0]["InstanceId"]]}
    ec2.stop_instances(**machine)  # it was not configured, so it has nothing to say
    ec2.get_waiter("instance_stopped").wait(**machine, WaiterConfig={"Delay": 1})
    run = checkout.passes("status.yml")
    assert "cost this month: not known. Cost Explorer does not count by Project and Stage yet" in words(
        run.output
    )
    rehearsal.boto("ce").update_cost_allocation_tags_status(
        CostAllocationTagsStatus=[{"TagKey": key, "Status": "Active"} for key in ("Project", "Stage")]
    )
    run = checkout.passes("status.yml")
    assert "cost this month: 1.23 USD so far" in words(run.output)


def test_destroy_takes_budget_and_acceptance(rehearsal: Rehearsal, checkout: Checkout) -> None:
    checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "delete_data=true")
    assert not rehearsal.boto("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
    assert accepted(rehearsal) == []


def test_prices_are_refreshed(checkout: Checkout, tmp_path: Path) -> None:
    path = checkout.path / "module_utils/prices.json"
    table = json.loads(path.read_text())
    table["prices"]["eu-central-1"]["gp3-gb-month"]["usd"] = "0.07"
    path.write_text(json.dumps(table))

    def refresh(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "tools/prices"]
        return subprocess.run(
            command, cwd=checkout.path, env=environment, capture_output=True, text=True, check=False
        )

    (tmp_path / "config").write_text(f"[profile {checkout.environment['AWS_PROFILE']}]\n")
    nobody = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    refused = refresh(checkout.environment | nobody | {"AWS_EC2_METADATA_DISABLED": "true"})
    assert refused.returncode != 0
    assert "Nothing was changed" in refused.stderr
    assert json.loads(path.read_text()) == table

    done = refresh(checkout.environment)
    assert done.returncode == 0, done.stderr
    assert "eu-central-1, gp3-gb-month: 0.07 was, 0.0952 is" in done.stdout
    new = json.loads(path.read_text())
    price = new["prices"]["eu-central-1"]["gp3-gb-month"]
    assert price["usd"] == "0.0952"
    assert new["sources"][price["source"]]["name"] == "AWS Price List API"
    # what AWS did not name keeps its price and its day
    assert new["prices"]["eu-west-1"] == table["prices"]["eu-west-1"]
