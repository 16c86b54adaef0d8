"""One host for all faults, set up by the playbooks; before each fault it serves a good version."""

import os
import secrets
import shutil
from collections.abc import Iterator

import pytest

from tests.checkout import make_checkout
from tests.conftest import NAME
from tests.faults.host import APP, DRAIN, HEALTH_TIMEOUT, ON_HOST, Host, Registry
from tests.faults.report import record
from tests.faults.visitor import Visitor
from tests.local_aws import Rehearsal, free_port, standing


@pytest.fixture(scope="package")
def rehearsal() -> Iterator[Rehearsal]:
    """A local AWS which may be broken, too."""
    with standing(f"{NAME}-{os.getpid()}-faults", free_port()) as made:
        yield made


@pytest.fixture(scope="package")
def registry(rehearsal: Rehearsal, host: Host) -> Registry:
    """Where versions are pushed to, once the playbooks have made it."""
    return Registry(rehearsal)


@pytest.fixture(scope="package")
def host(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that the playbooks have set up, and whose launcher can be broken at an exact point."""
    checkout = make_checkout(tmp_path_factory.mktemp("checkout"), rehearsal.env)
    shutil.copytree(APP, checkout.path / "faulty")
    checkout.settings(
        project="faults",
        app_context="faulty",
        app_dockerfile="",
        app_memory="64m",
        app_health_timeout=HEALTH_TIMEOUT,
        app_secrets={"TOKEN": "{{ lookup('ansible.builtin.env', 'FAULTS_TOKEN') }}"},
        app_optional_secrets=[],
        host_app_drain_seconds=DRAIN,
    )
    checkout.commit("An app that fails")
    secret = secrets.token_hex(16)
    checkout.passes("site.yml", environment=checkout.environment | {"FAULTS_TOKEN": secret})
    checkout.passes("push.yml")
    made = Host(rehearsal, secret)
    made.install(ON_HOST / "sitecustomize.py", "/usr/local/lib/matinee/sitecustomize.py")
    made.run("systemctl restart matinee-app")
    yield made
    made.is_tidy()


@pytest.fixture
def good(host: Host, registry: Registry) -> str:
    """The version that serves before the fault: one that was well before, and the newest that was pushed."""
    host.mend()
    serves = host.status()["version"]
    [*known] = [release["version"] for release in host.state()["good"]]
    if serves in known:
        registry.latest_is(serves)
    else:
        registry.push()
        host.does("release")
    host.rests()
    return str(host.status()["version"])


@pytest.fixture
def visitor(host: Host, good: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody who looks on from before the fault until all is well again."""
    with Visitor(host.address) as made:
        made.sees(good)
        yield made
    record(request, good, made)
    assert not made.lost()
    assert not host.leaks()
