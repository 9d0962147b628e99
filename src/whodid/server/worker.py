"""A process beside the server that stores what is handed over, or indexes: `intake` starts it.

Messages come on its standard input, answers go back on the same socket.

It ends when that input does, after storing and answering what came before. Ctrl-C and SIGTERM go
to a whole group of processes; this one leaves them to its parent, which stops it in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import BinaryIO

import msgspec

from whodid.server.bodies import Upload
from whodid.server.intake import LENGTH, Beginning
from whodid.server.settings import Settings
from whodid.server.writing import Answer, Deliver, Writer
from whodid.stores import EventStore, open_store

NICENESS = 2
"""Of the indexer: what waits to be stored comes first, what waits to be indexed is scanned."""
_encode = msgspec.msgpack.Encoder().encode
_beginning = msgspec.msgpack.Decoder(Beginning)
_upload = msgspec.msgpack.Decoder(tuple[int, Upload])


def main() -> None:
    """Serve one parent until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as connection:
        messages = connection.makefile("rb")
        beginning = _beginning.decode(_read(messages) or b"")
        is_indexer = beginning.role == "index"
        store = open_store(beginning.url, create=False, indexes=is_indexer)
        try:
            if is_indexer:
                os.nice(NICENESS)
                store.start_indexing(alone=True)
                _read(messages)  # nothing comes but the end
            else:
                _store_all(messages, connection, store=store, settings=beginning.settings)
        finally:
            store.close()


def _store_all(
    messages: BinaryIO, connection: socket.socket, *, store: EventStore, settings: Settings
) -> None:
    writer = Writer(store, settings=settings, deliver=_sender(connection))
    try:
        while message := _read(messages):
            writer.put(*_upload.decode(message))
    finally:
        writer.close()


def _read(messages: BinaryIO) -> bytes | None:
    """The next message; None at the end."""
    head = messages.read(LENGTH.size)
    return messages.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _sender(connection: socket.socket) -> Deliver:
    def send(answers: dict[int, Answer]) -> None:
        message = _encode(answers)
        # Whoever waited for the answers is gone with the parent; the events are stored.
        with contextlib.suppress(ConnectionError):
            connection.sendall(LENGTH.pack(len(message)) + message)

    return send


if __name__ == "__main__":
    main()
