"""Which address belongs to whom in the rehearsal's two networks."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

VPC_PREFIX = 20
INTERNET_PREFIX = 24
METADATA = "169.254.169.254"


@dataclass(frozen=True)
class Layout:
    """Addresses of one rehearsal.

    Attributes:
        vpc: The account's default VPC. Its first addresses are the router's and the resolver's, as in any
            VPC; its last eighth is the rehearsal's own, the rest are the default subnets of the zones.
        internet: Where Elastic IPs come from; its first address is this machine.
    """

    vpc: IPv4Network
    internet: IPv4Network

    @property
    def router(self) -> IPv4Address:
        """The way out of the VPC."""
        return self.vpc[1]

    @property
    def resolver(self) -> IPv4Address:
        """The VPC's DNS."""
        return self.vpc[2]

    @property
    def gateway(self) -> IPv4Address:
        """Every AWS hostname leads here."""
        return self._blocks[-1][4]

    @property
    def registry(self) -> IPv4Address:
        """Where image layers are kept."""
        return self._blocks[-1][5]

    @property
    def aws(self) -> IPv4Address:
        """The AWS API and the metadata service."""
        return self._blocks[-1][6]

    @property
    def acme(self) -> IPv4Address:
        """The ACME server."""
        return self._blocks[-1][7]

    @property
    def zones(self) -> list[IPv4Network]:
        """The default subnets, one for each availability zone in order."""
        return self._blocks[:-1]

    @property
    def machine(self) -> IPv4Address:
        """This machine, as a host sees it which is called at its Elastic IP."""
        return self.internet[1]

    @property
    def validator(self) -> IPv4Address:
        """From where the ACME server looks at a host's Elastic IP."""
        return self.internet[2]

    @property
    def elastic(self) -> list[IPv4Address]:
        """All addresses that can become public ones."""
        return [*self.internet.hosts()][9:]

    @property
    def _blocks(self) -> list[IPv4Network]:
        return [*self.vpc.subnets(prefixlen_diff=3)]
