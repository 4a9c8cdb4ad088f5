"""Which addresses are of the open internet, and what the others are for. Pure.

Sources: the IANA registries of special-purpose addresses
(https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry), of multicast, and of IPv6 unicast, by which nothing
outside 2000::/3 is assigned to anybody; and what the manuals of clouds say of their metadata services. The table does
not rest on `ipaddress.is_global`: what that says depends on the version of Python (3.11 calls 64:ff9b::/96 global,
whatever is inside).

Every special range is refused, also those that the registries call reachable (AS112, AMT, relays of 6to4): what they
hold is of no use to a program that asks for a page. So are forms of IPv6 that carry an address of IPv4, as these lead
to wherever a relay takes them; but for two, which are judged by the address inside: mapped ones, which are that
address, and 64:ff9b::/96, under which whoever has IPv6 only reaches the internet of IPv4 (RFC 6052).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple


class Special(NamedTuple):
    """What an address is for, if not for the open internet.

    Attributes:
        use: in words.
        never: no configuration opens it: nobody who names it means a server of their own.
    """

    use: str
    never: bool = False


_METADATA = Special("a metadata service", never=True)
_LINK = Special("link-local", never=True)
_MULTICAST = Special("multicast", never=True)

_V4 = {
    "0.0.0.0/8": Special("this network", never=True),
    "10.0.0.0/8": Special("private use"),
    "100.64.0.0/10": Special("shared address space"),
    "127.0.0.0/8": Special("loopback"),
    "168.63.129.16/32": _METADATA,  # of Azure, in the middle of the open internet
    "169.254.0.0/16": _LINK,  # with the metadata services of most clouds
    "172.16.0.0/12": Special("private use"),
    "192.0.0.0/24": Special("IETF protocol assignments", never=True),  # with 192.0.0.192, metadata of Oracle
    "192.0.2.0/24": Special("documentation"),
    "192.31.196.0/24": Special("AS112"),
    "192.52.193.0/24": Special("AMT"),
    "192.80.8.124/32": _METADATA,  # of Equinix Metal
    "192.88.99.0/24": Special("relays of 6to4"),
    "192.168.0.0/16": Special("private use"),
    "192.175.48.0/24": Special("AS112"),
    "198.18.0.0/15": Special("benchmarking"),
    "198.51.100.0/24": Special("documentation"),
    "203.0.113.0/24": Special("documentation"),
    "224.0.0.0/4": _MULTICAST,
    "240.0.0.0/4": Special("reserved, and limited broadcast", never=True),
}  # fmt: skip
_V6 = {
    "::/128": Special("the unspecified address", never=True),
    "::1/128": Special("loopback"),
    "::/96": Special("compatible with IPv4", never=True),
    "64:ff9b:1::/48": Special("translation to IPv4 of a local network", never=True),
    "100::/64": Special("discard only", never=True),
    "100:0:0:1::/64": Special("a dummy prefix", never=True),
    "2001::/32": Special("Teredo", never=True),
    "2001::/23": Special("IETF protocol assignments", never=True),  # with ORCHID, benchmarking, AMT, AS112
    "2001:db8::/32": Special("documentation"),
    "2002::/16": Special("6to4", never=True),
    "2620:4f:8000::/48": Special("AS112"),
    "3fff::/20": Special("documentation"),
    "5f00::/16": Special("segment routing", never=True),
    "fd00:ec2::254/128": _METADATA,  # of Amazon
    "fd20:ce::254/128": _METADATA,  # of Google
    "fd00:42::42/128": _METADATA,  # of Scaleway
    "fc00::/7": Special("unique-local"),
    "fe80::/10": _LINK,
    "fec0::/10": Special("site-local", never=True),
    "ff00::/8": _MULTICAST,
}
_UNASSIGNED = Special("not assigned to anybody", never=True)
_ISATAP = Special("ISATAP", never=True)
_NO_ADDRESS = Special("no address", never=True)

_MAPPED, _TRANSLATED = 0xFFFF, 0x64_FF9B << 64  # the upper 96 bits of forms that are judged by what is inside
_ISATAP_MARKS = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214: the third quarter of the address
_LOW_32 = 0xFFFF_FFFF


def _bounds(table: dict[str, Special]) -> list[tuple[int, int, Special]]:
    """First and last address of each range, the narrow ones first: what is said of them goes before."""
    networks = sorted(((ip_network(text), use) for text, use in table.items()), key=lambda pair: -pair[0].prefixlen)
    return [(int(net.network_address), int(net.broadcast_address), use) for net, use in networks]


_V4_BOUNDS, _V6_BOUNDS = _bounds(_V4), _bounds(_V6)


def special(address: str) -> Special | None:
    """What an address is for; None: it is one of the open internet.

    Args:
        address: in its canonical form, or another that `ipaddress` reads; what is none is special, too.

    Example:
        >>> special("93.184.215.14"), special("10.1.2.3").use, special("64:ff9b::a9fe:a9fe").use
        (None, 'private use', 'link-local')
    """
    try:
        found = ip_address(address)
    except ValueError:
        return _NO_ADDRESS
    if isinstance(found, IPv4Address):
        return _in(_V4_BOUNDS, int(found))
    return _special_v6(found)


def _special_v6(found: IPv6Address) -> Special | None:
    if found.scope_id is not None:
        return _LINK
    number = int(found)
    if number >> 32 in (_MAPPED, _TRANSLATED):
        return _in(_V4_BOUNDS, number & _LOW_32)
    if (number >> 32) & _LOW_32 in _ISATAP_MARKS:
        return _ISATAP
    return _in(_V6_BOUNDS, number) or (None if number >> 125 == 1 else _UNASSIGNED)


def _in(bounds: list[tuple[int, int, Special]], number: int) -> Special | None:
    return next((use for first, last, use in bounds if first <= number <= last), None)
