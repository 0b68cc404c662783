"""The child process that reads a partition in place of the sidecar: `python -m exporter.source.isolated_reader`.

It takes an order as JSON on stdin and writes the records to stdout. Any of them may end it, within limits on memory and
time. Each fetch brings one batch, and none comes before the last one was taken: what lies before a deadly one gets out.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition

from exporter.model import Partition, Record
from exporter.source.messages import Reader

# How the child ends when it has read what was asked for, and when it cannot tell.
DONE, UNKNOWN = 0, 3
ANSWER_SECONDS = 5.0
_LENGTH_BYTES = 8
_NO_VALUE = 2**64 - 1


class Order(msgspec.Struct, frozen=True):
    """What to read, within so many seconds and bytes of memory: from `first` to before `end`.

    Or one record only, which is not written: then it counts that the child survived.
    """

    properties: dict[str, Any]
    partition: Partition
    first: int
    end: int
    only_one: bool
    seconds: int
    data_bytes: int


_ENCODER = msgspec.msgpack.Encoder()
_RECORD = msgspec.msgpack.Decoder(Record)


def write(record: Record, stream: BinaryIO) -> None:
    """Write a record; the value is not copied, it may be large."""
    head = _ENCODER.encode(msgspec.structs.replace(record, value=None))
    length = _NO_VALUE if record.value is None else len(record.value)
    stream.write(len(head).to_bytes(_LENGTH_BYTES) + length.to_bytes(_LENGTH_BYTES) + head)
    stream.write(record.value or b"")
    stream.flush()


def read(stream: BinaryIO) -> Iterator[Record]:
    """Yield the records that were written whole."""
    while len(lengths := stream.read(2 * _LENGTH_BYTES)) == 2 * _LENGTH_BYTES:
        length, size = (int.from_bytes(lengths[at : at + _LENGTH_BYTES]) for at in (0, _LENGTH_BYTES))
        head = stream.read(length)
        value = None if size == _NO_VALUE else stream.read(size)
        if len(head) < length or (value is not None and len(value) < size):
            return
        yield msgspec.structs.replace(_RECORD.decode(head), value=value)


def main() -> int:
    """Read what is asked for; return how it went."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    _limit(order)
    try:
        return _read(order, sys.stdout.buffer)
    except BrokenPipeError:
        return UNKNOWN
    except (MemoryError, SystemError):  # what confluent-kafka makes of a value for which there is no memory
        os.abort()  # the sidecar would end of it as well


def _limit(order: Order) -> None:
    """Be the first that the system ends for want of memory, leave no core, and end in time without any help."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    data = order.data_bytes if most == resource.RLIM_INFINITY else min(most, order.data_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the sidecar takes signals by a thread, this does not
    signal.alarm(order.seconds)


def _read(order: Order, stream: BinaryIO) -> int:
    consumer = Consumer(order.properties)
    consumer.assign([TopicPartition(*order.partition, order.first)])
    reader, deadline = Reader(), time.monotonic() + ANSWER_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        message = consumer.poll(left)
        if message is None:
            continue
        if (error := message.error()) is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return DONE
            continue
        [record], _ = reader.read([message])
        del message
        if order.only_one or record.offset >= order.end:
            return DONE
        write(record, stream)
        del record
        deadline = time.monotonic() + ANSWER_SECONDS
    return UNKNOWN


if __name__ == "__main__":
    code = main()
    # The end of the client may take longer than all the rest.
    os._exit(code)
