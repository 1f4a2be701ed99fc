"""Lists a cluster's nodes, in a separate process: Ray ends a process that loses the head node.

python -m benchmarks.chaos.nodes HOST:PORT reachable | alive COUNT | dead NODE_ADDRESS | id NODE_ADDRESS
"""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_SECONDS = 180.0
_ALIVE = 0  # GcsNodeInfo.ALIVE


def main() -> int:
    """0 when it is so; 1 when it was not within three minutes."""
    address, question, *words = sys.argv[1:]
    if question == "reachable":
        return _wait(lambda: _reachable(address))
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # no public call asks without joining

    client = GcsClient(address=address)

    def alive() -> list[tuple[str, str]]:
        found = client.get_all_node_info(timeout=10)
        nodes = found[0] if isinstance(found, tuple) else found
        return [(info.node_manager_address, key.hex()) for key, info in nodes.items() if info.state == _ALIVE]

    match question:
        case "alive":
            return _wait(lambda: len(alive()) >= int(words[0]))
        case "dead":
            return _wait(lambda: words[0] not in dict(alive()))
        case _:
            print(dict(alive()).get(words[0], ""))
            return 0


def _reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _wait(condition: Callable[[], bool]) -> int:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
