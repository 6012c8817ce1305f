"""The worker's end of its socket: objects come whole with their open files, however the bytes arrive."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from faceblurd.model import Untouched
from faceblurd.workers import messages
from faceblurd.workers.messages import Frames, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, messages.WorkerEnd]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, messages.WorkerEnd(theirs)


Ends = tuple[socket.socket, messages.WorkerEnd]


def test_an_object_comes_whole_although_its_bytes_come_one_by_one(ends: Ends) -> None:
    ours, theirs = ends

    def drip() -> None:
        for byte in messages.pack({"recipe": 1}):
            ours.send(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert theirs.receive() == ({"recipe": 1}, [])
    thread.join(SECONDS)


def test_an_object_that_is_larger_than_the_socket_holds_comes_whole(ends: Ends) -> None:
    ours, theirs = ends
    thread = threading.Thread(target=ours.sendall, args=(messages.pack(b"x" * (4 << 20)),))
    thread.start()
    assert theirs.receive()[0] == b"x" * (4 << 20)
    thread.join(SECONDS)


def test_open_files_come_with_their_own_object(ends: Ends) -> None:
    ours, theirs = ends
    sent = [os.memfd_create(name) for name in ("source", "staging")]
    for fd, content in zip(sent, (b"a photo", b"a result"), strict=True):
        os.write(fd, content)
    socket.send_fds(ours, [messages.pack("first")], sent)
    ours.sendall(messages.pack("second"))
    first, received = theirs.receive()
    assert first == "first"
    assert [os.pread(fd, 99, 0) for fd in received] == [b"a photo", b"a result"]
    assert theirs.receive() == ("second", [])
    for fd in (*sent, *received):
        os.close(fd)


@pytest.mark.parametrize("cut", [0, 2, 4, 9])
def test_a_parent_that_has_gone_is_the_end_wherever_it_stopped(ends: Ends, cut: int) -> None:
    ours, theirs = ends
    ours.sendall(messages.pack("an order")[:cut])
    ours.close()
    with pytest.raises(EOFError):
        theirs.receive()


def test_what_a_worker_says_is_framed_json(ends: Ends) -> None:
    ours, theirs = ends
    theirs.send(Untouched(1, 2))
    assert [decode(one) for one in Frames().feed(ours.recv(1 << 16))] == [Untouched(1, 2)]


def test_it_is_told_whether_the_parent_speaks_within_some_seconds(ends: Ends) -> None:
    ours, theirs = ends
    assert not theirs.poll(0.0)
    ours.sendall(messages.pack(True))
    assert theirs.poll(SECONDS)
    assert theirs.receive() == (True, [])


def test_a_plugins_child_does_not_inherit_it() -> None:
    """Else the parent would not hear of the worker's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.set_inheritable(True)
        messages.WorkerEnd(theirs)
        assert not theirs.get_inheritable()
