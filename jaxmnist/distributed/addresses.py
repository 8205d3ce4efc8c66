"""The address at which the processes of a run meet, and whether it means this machine alone."""

import ipaddress
import socket

from jaxmnist.errors import InputError

LOOPBACK = "127.0.0.1"


def host_and_port(address: str) -> tuple[str, int]:
    """Read HOST:PORT.

    Args:
        address: With a name, an IPv4 address, or an IPv6 address with or without brackets.

    Returns:
        The host without brackets, and the port.

    Raises:
        InputError: It is not of that form.

    >>> host_and_port("10.0.0.1:12345"), host_and_port("[::1]:80")
    (('10.0.0.1', 12345), ('::1', 80))
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    is_host = bool(host) and (":" not in host or _is_ipv6(host))
    if not (is_host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(
            f"coordinator_address is {address!r}; it must be HOST:PORT, such as 10.0.0.1:12345"
        )
    return host, int(port)


def is_this_machine(host: str) -> bool:
    """Return whether a host means this machine alone, in whatever spelling.

    That are the names and numbers of the loopback interface and of "any interface", which a
    process that connects understands as its own machine. A name that has an address in the
    network too, such as this machine's own, is for other machines as well.

    Args:
        host: A name or an address.

    >>> [is_this_machine(host) for host in ("localhost", "127.1", "::1", "0.0.0.0", "10.0.0.1")]
    [True, True, True, True, False]
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(_is_local(str(address[0])) for *_, address in found)


def check_port(address: str, host: str, port: int) -> None:
    """Refuse an address that process 0 cannot listen at; the service itself would wait for it.

    Args:
        address: As it was given.
        host: The loopback interface's, or another, for which all interfaces are taken.
        port: The port.

    Raises:
        InputError: The port is taken, or may not be used.
    """
    local = host == LOOPBACK
    family = socket.AF_INET if local or not socket.has_ipv6 else socket.AF_INET6
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host if local else "", port))
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen at {address}: {error.strerror}; choose another port"
        ) from error


def check_own_name() -> None:
    """Refuse a machine whose name has no address: the sums between processes listen at it.

    Raises:
        InputError: It has none.
    """
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"this machine's own name, {name!r}, has no address, and a process of a run listens at "
            f"it; add the line '127.0.0.1 {name}' to /etc/hosts if all of them are on this "
            "machine, and otherwise one with its address in the network in place of 127.0.0.1"
        ) from error


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_local(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified
