"""The child process that reads a partition in place of the sidecar: `python -m exporter.source.isolated_reader`.

It reads an order as JSON from stdin and writes the records to stdout. Any record may end it, within limits on memory
and time. It fetches one batch at a time, so that all records before a deadly one are written.
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

from exporter.kafka.msk import tokens
from exporter.model import Partition, Record
from exporter.source.messages import MessageReader

# Exit codes: the order is complete, and unknown.
DONE, UNKNOWN = 0, 3
ANSWER_SECONDS = 5.0
_LENGTH_BYTES = 8
_NO_VALUE = 2**64 - 1


class Order(msgspec.Struct, frozen=True):
    """What to read, within `seconds` and `data_bytes` of memory: the records from `first` to before `end`.

    With `only_one` the first record is read and not written, to see whether the child survives. `msk_region` is where
    the client logs in by AWS IAM, empty elsewhere.
    """

    properties: dict[str, Any]
    partition: Partition
    first: int
    end: int
    only_one: bool
    seconds: int
    data_bytes: int
    msk_region: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_RECORD = msgspec.msgpack.Decoder(Record)


def write(record: Record, stream: BinaryIO) -> None:
    """Write a record without copying its value, which may be large."""
    head = _ENCODER.encode(msgspec.structs.replace(record, value=None))
    length = _NO_VALUE if record.value is None else len(record.value)
    stream.write(len(head).to_bytes(_LENGTH_BYTES) + length.to_bytes(_LENGTH_BYTES) + head)
    stream.write(record.value or b"")
    stream.flush()


def read(stream: BinaryIO) -> Iterator[Record]:
    """Yield the records that were written completely."""
    while len(lengths := stream.read(2 * _LENGTH_BYTES)) == 2 * _LENGTH_BYTES:
        length, size = (int.from_bytes(lengths[at : at + _LENGTH_BYTES]) for at in (0, _LENGTH_BYTES))
        head = stream.read(length)
        value = None if size == _NO_VALUE else stream.read(size)
        if len(head) < length or (value is not None and len(value) < size):
            return
        yield msgspec.structs.replace(_RECORD.decode(head), value=value)


def main() -> int:
    """Execute the order; return the exit code."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    _limit(order)
    try:
        return _read(order, sys.stdout.buffer)
    except BrokenPipeError:
        return UNKNOWN
    except (MemoryError, SystemError):  # raised by confluent-kafka without memory for a value
        os.abort()  # it would end the sidecar, too


def _limit(order: Order) -> None:
    """Limit memory and time, write no core file, and be the first process that the system ends without memory."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    data = order.data_bytes if most == resource.RLIM_INFINITY else min(most, order.data_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # inherited from the sidecar, which has a thread for signals
    signal.alarm(order.seconds)


def _read(order: Order, stream: BinaryIO) -> int:
    login = {"oauth_cb": tokens(order.msk_region)} if order.msk_region else {}
    consumer = Consumer({**order.properties, **login})
    consumer.assign([TopicPartition(*order.partition, order.first)])
    reader, deadline = MessageReader(origin=True), time.monotonic() + ANSWER_SECONDS
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
    # Closing the client may take longer than reading.
    os._exit(code)
