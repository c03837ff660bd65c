"""Several processes on one machine: the environment variables that tell each its place."""

import socket


def free_address() -> str:
    """Returns an address on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def places(number: int, address: str) -> list[dict[str, str]]:
    """Returns the variables of each of several processes, of which the first listens at an address."""
    common = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(number)}
    return [common | {"JAX_PROCESS_ID": str(place)} for place in range(number)]
