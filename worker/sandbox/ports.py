"""Free TCP ports on loopback."""

import random
import socket

# Below the range from which systems take ports for outgoing connections: a client that
# reconnects to a killed service must not be given the service's own port as its source.
_FIRST, _LAST = 15_000, 32_000
_ATTEMPTS = 200


def free_ports(count: int) -> list[int]:
    """Return `count` different ports on which nothing listens on 127.0.0.1 right now."""
    found: set[int] = set()
    for _ in range(_ATTEMPTS * count):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 -- spreads parallel runs, hides nothing
        if port not in found and _is_free(port):
            found.add(port)
        if len(found) == count:
            return sorted(found)
    raise OSError(f"no {count} free ports between {_FIRST} and {_LAST} on 127.0.0.1")


def free_port() -> int:
    """Return one port on which nothing listens on 127.0.0.1 right now."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the services do: a port in TIME_WAIT after a kill can be listened on again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
