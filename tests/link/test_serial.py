"""Real ports of the operating system, with a device at their other end."""

from __future__ import annotations

import errno
import os
import pty
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import numpy
import pytest
import serial
from link.devices import SPEC

from dyncc.cli import main
from dyncc.core.errors import ConfigError, LinkError
from dyncc.link import SerialTransport, Session
from dyncc.spiking import open_core
from dyncc.spiking.device_core import PROTOCOL
from dyncc_models.spiking.device import DeviceTwin
from dyncc_models.spiking.random_images import random_image


@contextmanager
def device_at(number: int, serve: Callable[[bytes], bytes] | None = None) -> Iterator[DeviceTwin]:
    """A device that reads from and writes to a file of the operating system."""
    device, over = DeviceTwin(SPEC), Event()

    def receive(content: bytes) -> bytes:
        answers = device.receive(content)
        device.advance()
        return answers

    def run() -> None:
        while not over.is_set():
            if select.select([number], [], [], 0.05)[0]:
                try:
                    content = os.read(number, 4096)
                except OSError:
                    return
                if content:
                    os.write(number, (serve or receive)(content))

    thread = Thread(target=run)
    thread.start()
    try:
        yield device
    finally:
        over.set()
        thread.join()


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """Both ends of a pseudo terminal: a file number, and the name of a port."""
    near, far = pty.openpty()
    yield near, os.ttyname(far)
    os.close(far)
    os.close(near)


def test_a_device_at_a_port(terminal: tuple[int, str]) -> None:
    number, port = terminal
    image = random_image(SPEC, 1)
    lines = numpy.random.default_rng(2).random((60, SPEC.inputs)) < 0.3
    with open_core("twin", image) as twin:
        expected = twin.run(lines, record=[1, 2])
    with device_at(number), open_core(f"serial:{port}@115200", image) as core:
        found = core.run(lines, record=[1, 2])
        with pytest.raises(LinkError, match=f"{port} is in use by another program"):
            SerialTransport(port)
        assert core.session.transport.baud == 115200  # type: ignore[attr-defined]
    assert found.spikes.any()
    assert (found.spikes == expected.spikes).all()
    assert (found.potentials == expected.potentials).all()


def test_a_device_behind_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = SerialTransport(f"socket://127.0.0.1:{port}")
        other, _ = server.accept()
        with other, device_at(other.fileno()), Session(line, PROTOCOL) as session:
            assert session.info["neurons"] == SPEC.neurons


def test_a_port_that_leads_back() -> None:
    with pytest.raises(LinkError, match="loop://: what is sent comes back"):
        open_core("serial:loop://")


def test_another_device(terminal: tuple[int, str]) -> None:
    number, port = terminal
    larger = type(SPEC)(16, 5, lanes=4, parameter_sets=4)
    with (
        device_at(number),
        pytest.raises(ConfigError, match="for a core with neurons=16, this one has neurons=8"),
    ):
        open_core(f"serial:{port}", random_image(larger, 0))


def test_a_port_that_is_gone(terminal: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, port = terminal
    line = SerialTransport(port)

    def fail(*_: Any) -> None:
        raise serial.SerialException(errno.EIO, "device reports readiness to read but returned no")

    monkeypatch.setattr(line._port, "read", fail)
    monkeypatch.setattr(line._port, "write", fail)
    with pytest.raises(LinkError, match=r"is gone: .*\n  Was the device unplugged\?"):
        line.read(0.01)
    with pytest.raises(LinkError, match="takes no bytes"):
        line.write(b"a")
    line.close()


@pytest.mark.parametrize(
    ("engine", "kind", "message"),
    [
        ("serial:/dev/ttyNone7", ConfigError, "there is no serial port /dev/ttyNone7\n  There "),
        ("serial:", ConfigError, "'serial:' names no port"),
        ("serial:@9600", ConfigError, "'serial:@9600' names no port"),
        ("serial:/dev/ttyS0@fast", ConfigError, "must be a positive integer, not 'fast'"),
        ("serial:/dev/ttyS0@0", ConfigError, "must be a positive integer, not '0'"),
        ("serial:tin://can", ConfigError, "tin://can cannot be opened"),
        ("serial:socket://127.0.0.1:1", LinkError, "socket://127.0.0.1:1 cannot be opened"),
        ("rtl", ConfigError, "the engine rtl needs the size of the core, or an image"),
        ("vax", ConfigError, "engine must be one of twin, link, rtl, serial:PORT, not 'vax'"),
    ],
)
def test_ports_that_cannot_be_opened(engine: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        open_core(engine)


def test_a_port_that_is_forbidden(
    terminal: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise serial.SerialException(errno.EACCES, "permission denied")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(LinkError, match=r"may not be opened by this user\n.*dialout"):
        SerialTransport(terminal[1])


def test_the_command_line_says_what_is_wrong(
    tmp_path: Any, terminal: tuple[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    from dyncc import spiking

    network = spiking.Network(1e-3)
    network.input("input", 2)
    network.population("cells", "lif", 3, tau=0.02)
    network.connect("input", "cells", spiking.all_to_all(20.0))
    network.output("out", "cells")
    spiking.save(spiking.map_network(network, SPEC), tmp_path / "net")
    numpy.savez(tmp_path / "in.npz", input=numpy.ones((20, 2), bool))
    number, port = terminal
    command = ["run", str(tmp_path / "net"), "--input", str(tmp_path / "in.npz")]
    command += ["--output", str(tmp_path / "out.npz"), "--engine"]
    with device_at(number):
        assert main([*command, f"serial:{port}"]) == 0
    out, err = capsys.readouterr()
    assert "out: bool[20,3]" in out
    assert "programming" in err
    assert numpy.load(tmp_path / "out.npz")["out"].any()
    with device_at(number, serve=lambda _: b"\xff\xfe" * 50):
        assert main([*command, f"serial:{port}"]) == 4
    assert "no answer to a PING" in capsys.readouterr().err
    assert main([*command, "serial:/dev/ttyNone7"]) == 1
    assert "there is no serial port" in capsys.readouterr().err
    command[1] = str(tmp_path)
    assert main([*command, "twin"]) == 1
    assert "holds no spiking network, and --engine" in capsys.readouterr().err
