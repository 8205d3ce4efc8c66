"""What processes are told of each other: addresses, ports, and what is refused before they join."""

import socket

import jax
import pytest

import jaxmnist as jm
from jaxmnist.distributed import addresses, processes


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.1", "127.0.0.2", "2130706433")),
        *((host, True) for host in ("::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1", "0.0.0.0", "::")),
        *((host, False) for host in ("10.0.0.1", "192.0.2.2", "fd00::2", "no.such.host.invalid")),
    ],
)
def test_spellings_of_this_machine_are_known(host, is_local):
    assert addresses.is_this_machine(host) is is_local


def test_port_in_use_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(jm.InputError, match=f"cannot listen at {address}: .*another port"):
            processes.join(processes.Processes(address, num_processes=2, process_id=0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"coordinator_address": "127.0.0.1"}, "'127.0.0.1'; it must be HOST:PORT"),
        ({"coordinator_address": "::1"}, "'::1'; it must be HOST:PORT"),
        ({"coordinator_address": "here:99999"}, "'here:99999'; it must be HOST:PORT"),
        ({"num_processes": 0}, "num_processes is 0; .*at least 1"),
        ({"process_id": -1}, "process_id is -1; .*at least 0"),
        ({"num_processes": 2, "process_id": 2}, "process_id is 2; .*from 0 to 1"),
        ({"start_timeout": 0}, "start_timeout is 0; .*at least 1"),
        ({"heartbeat_timeout": 0}, "heartbeat_timeout is 0; .*at least 1"),
    ],
    ids=str,
)
def test_processes_that_cannot_be_are_refused(values, message):
    with pytest.raises(jm.InputError, match=message):
        processes.join(processes.Processes(**values))


def test_environment_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(jm.InputError, match="JAX_NUM_PROCESSES is 'two'"):
        processes.join(processes.Processes("127.0.0.1:1"))


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")]
)
def test_machine_whose_own_name_has_no_address_is_told_what_to_write(error, monkeypatch, refused):
    def resolve(name: str, *_: object) -> None:
        assert name == "nowhere-7"
        raise error

    def connect(*_: object, **__: object) -> None:
        pytest.fail("it must be refused before it connects")

    monkeypatch.setattr(socket, "gethostname", lambda: "nowhere-7")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(jax.distributed, "initialize", connect)
    with refused("own name, 'nowhere-7', has no address", "'127.0.0.1 nowhere-7' to /etc/hosts"):
        processes.join(processes.Processes("127.0.0.1:1", num_processes=2, process_id=1))


def test_process_that_is_alone_decides_for_itself():
    assert not processes.joined()
    assert processes.is_first()
    assert processes.from_first(lambda: {"epoch": 3}) == {"epoch": 3}
    processes.leave()
