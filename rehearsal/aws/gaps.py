"""Where moto differs from AWS in a way the playbooks meet. Each function says what it mends."""

import copy
import json
import secrets
from collections.abc import Callable, Sequence

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend, ec2_backends, elastic_ip_addresses, elastic_network_interfaces
from moto.ec2.models.elastic_block_store import Volume
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import Instance, InstanceState, MetadataOptions, Reservation
from moto.ec2.models.tags import EC2_PREFIX_TO_RESOURCE
from moto.ec2.models.vpcs import VPC, VPCBackend
from moto.iam.responses import IamResponse
from moto.logs.responses import LogsResponse
from moto.sns.models import SNSBackend, Subscription
from moto.sns.responses import SNSResponse

from .layout import Layout
from .mend import adds, mends
from .settings import ACCOUNT, PARTITION

# What an instance's metadata options are called where the request names them differently
NAMES_OF_METADATA_OPTIONS = {
    "http_put_response_hop_limit": "hop_limit",
    "http_protocol_ipv6": "http_protocol",
    "instance_metadata_tags": "metadata_tags",
}


def install(layout: Layout) -> None:
    """Mend moto, before its first request."""
    _tags_of_elastic_addresses()
    _snapshot_of_a_volume()
    _root_device_of_an_instance()
    _subnet_of_an_instance()
    _metadata_options_which_stay()
    _service_specific_credentials()
    _elastic_address_over_stop_and_start()
    _elastic_address_after_termination()
    _elastic_address_on_the_move()
    _default_vpc(layout)
    _public_addresses(layout)
    _mail_address_to_be_confirmed()
    _log_group_of_a_request()


def _tags_of_elastic_addresses() -> None:
    """DescribeTags does not know the type of an Elastic IP, so that ec2_eip never finds its own."""
    EC2_PREFIX_TO_RESOURCE["eipalloc"] = "elastic-ip"


def _snapshot_of_a_volume() -> None:
    """A volume made from nothing has an empty snapshot id, not none: ec2_vol_info needs the key."""

    @mends(Volume, "__init__")
    def init(original: Callable[..., None], volume: Volume, *args: object, **kwargs: object) -> None:
        original(volume, *args, **kwargs)
        volume.snapshot_id = volume.snapshot_id or ""


def _root_device_of_an_instance() -> None:
    """The root volume hangs at the device the AMI names, not always at /dev/sda1."""

    @mends(Instance, "setup_defaults")
    def setup_defaults(_original: object, instance: Instance) -> None:
        volume = instance.ec2_backend.create_volume(size=8, zone_name=instance.availability_zone)
        instance.ec2_backend.attach_volume(volume.id, instance.id, instance.root_device_name, True)


def _subnet_of_an_instance() -> None:
    """An instance for which no subnet is named goes to the default one, not to the long gone EC2-Classic."""

    @mends(EC2Backend, "run_instances")
    def run_instances(
        original: Callable[..., Reservation],
        backend: EC2Backend,
        *args: object,
        subnet_id: str | None = None,
        placement: str | None = None,
        nics: Sequence[dict[str, str]] = (),
        **kwargs: object,
    ) -> Reservation:
        if not subnet_id and not any("SubnetId" in interface for interface in nics):
            subnets = backend.get_default_subnets()
            subnet_id = subnets[placement or min(subnets)].id
        return original(backend, *args, subnet_id=subnet_id, placement=placement, nics=nics, **kwargs)


def _metadata_options_which_stay() -> None:
    """ModifyInstanceMetadataOptions leaves alone what it does not name."""

    @mends(EC2Backend, "modify_instance_metadata_options")
    def modify(
        original: Callable[..., MetadataOptions],
        backend: EC2Backend,
        instance_id: str,
        **named: str | int | bool | None,
    ) -> MetadataOptions:
        before: dict[str, object] = dict(vars(backend.get_instance(instance_id).metadata_options))
        options = original(backend, instance_id, **named)
        for name, value in before.items():
            parameter = NAMES_OF_METADATA_OPTIONS.get(name, name)
            if named.get(parameter) is None:
                setattr(options, name, value)
        return options


def _service_specific_credentials() -> None:
    """Without this call iam_user state=absent fails: nobody here has any."""

    @adds(IamResponse, "list_service_specific_credentials")
    def list_service_specific_credentials(_response: IamResponse) -> ActionResult:
        return ActionResult({"ServiceSpecificCredentials": []})


def _elastic_address_over_stop_and_start() -> None:
    """An Elastic IP stays with a stopped instance; only an address of the common pool is lost."""
    for method in ("start", "stop"):

        @mends(NetworkInterface, method)
        def unless_elastic(original: Callable[[NetworkInterface], None], interface: NetworkInterface) -> None:
            if all(address.eni is not interface for address in interface.ec2_backend.addresses):
                original(interface)


def _elastic_address_after_termination() -> None:
    """Termination frees the instance's Elastic IP."""

    @mends(Instance, "terminate")
    def terminate(original: Callable[[Instance], InstanceState], instance: Instance) -> InstanceState:
        for address in instance.ec2_backend.addresses:
            if address.instance is instance:
                instance.ec2_backend.disassociate_address(address=address.public_ip)
        return original(instance)


def _elastic_address_on_the_move() -> None:
    """An Elastic IP has one holder and a holder one Elastic IP: who had it before has it no more."""

    @mends(EC2Backend, "associate_address")
    def associate_address(
        original: Callable[..., ElasticAddress], backend: EC2Backend, *args: object, **kwargs: object
    ) -> ElasticAddress:
        holders = {address.id: address.eni for address in backend.addresses}
        moved = original(backend, *args, **kwargs)
        before = holders[moved.id]
        if before is not None and before is not moved.eni:
            before.public_ip = None
            before.check_auto_public_ip()
        for address in backend.addresses:
            if address is not moved and address.eni is moved.eni:
                address.instance = address.eni = address.association_id = None
        return moved


def _default_vpc(layout: Layout) -> None:
    """The default VPC is the docker network, so that private addresses are the ones hosts have."""

    @mends(VPCBackend, "create_default_vpc")
    def create_default_vpc(_original: object, backend: EC2Backend) -> VPC:
        vpc = backend.create_vpc(cidr_block=str(layout.vpc), is_default=True)
        for zone, block in zip(backend.describe_availability_zones(), layout.zones, strict=False):
            backend.create_subnet(vpc_id=vpc.id, cidr_block=str(block), availability_zone=zone.name)
        return vpc


def _public_addresses(layout: Layout) -> None:
    """Public addresses come from the docker network which stands for the internet, none of them twice."""
    pool = [str(address) for address in layout.elastic]

    def draw() -> str:
        taken: set[str | None] = set()
        for backend in ec2_backends[ACCOUNT].values():
            taken.update(address.public_ip for address in backend.addresses)
            taken.update(interface.public_ip for interface in backend.enis.values())
        return secrets.choice([address for address in pool if address not in taken])

    elastic_ip_addresses.random_ip = draw
    elastic_network_interfaces.random_public_ip = draw


def _mail_address_to_be_confirmed() -> None:
    """A subscribed mail address is pending until its owner clicks the link; here, with any token."""
    confirmed: set[str] = set()

    @mends(SNSResponse, "confirm_subscription")
    def confirm_subscription(
        original: Callable[[SNSResponse], ActionResult], response: SNSResponse
    ) -> ActionResult:
        result = original(response)
        confirmed.add(response._get_param("TopicArn"))
        return result

    @mends(SNSBackend, "list_subscriptions_by_topic")
    def list_subscriptions_by_topic(
        original: Callable[..., tuple[list[Subscription], int | None]],
        backend: SNSBackend,
        topic_arn: str,
        *args: object,
        **kwargs: object,
    ) -> tuple[list[Subscription], int | None]:
        found, following = original(backend, topic_arn, *args, **kwargs)
        listed = [copy.copy(subscription) for subscription in found]
        for subscription in listed:
            if subscription.protocol == "email" and topic_arn not in confirmed:
                subscription.arn = "PendingConfirmation"
        return listed, following

    @mends(SNSBackend, "delete_topic")
    def delete_topic(original: Callable[[SNSBackend, str], None], backend: SNSBackend, arn: str) -> None:
        original(backend, arn)
        confirmed.discard(arn)


def _log_group_of_a_request() -> None:
    """A policy can name log groups and streams: moto asks about all of them whatever the request is about."""

    @adds(LogsResponse, "_determine_resource")
    def resource(response: LogsResponse) -> str:
        named = json.loads(response.body or "{}")
        group, stream = named.get("logGroupName"), named.get("logStreamName")
        arn = f"arn:{PARTITION}:logs:{response.region}:{ACCOUNT}:log-group:{group}"
        return named.get("resourceArn") or (f"{arn}:log-stream:{stream}" if stream else arn if group else "*")
