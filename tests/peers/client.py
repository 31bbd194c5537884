"""A client of the protocol, made from proto/README.md alone: no generated code, nothing of the Rust SDK.

    FARWIRE_TOKEN=$(farwire token mint …) python3 client.py HOST PORT CA_FILE

Plays its scenarios against a node, checks every answer, and prints lines of JSON: when its subscriptions are in force, when
it has seen who is present, and at last what it saw. Exits with 0, or with 1 and the fault. The upper half is a client that
can be reused; the lower half are the scenarios.
"""

import asyncio
import json
import os
import random
import sys
from typing import NamedTuple

try:
    from aioquic.asyncio import QuicConnectionProtocol, connect
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived
except ImportError:
    sys.exit("aioquic is missing: run tests/setup.sh, or python3 -m pip install aioquic==1.7.2")

FRAME_BYTES_MAX = 66_560
KEEP_ALIVE_SECONDS = 1.5
LEVEL_VOLATILE = 1
BAD_CHANNEL, FORBIDDEN, GOAWAY, UNSUPPORTED_VERSION = 0x105, 0x114, 0x150, 0x101
EVENTS = {1: "join", 2: "leave", 3: "timeout", 4: "state", 5: "interval"}


# Protobuf and frames.


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def uint(field, number):
    return varint(field << 3) + varint(number) if number else b""


def fixed(field, number):
    return varint(field << 3 | 1) + number.to_bytes(8, "little")


def text(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def fields(data):
    """The fields of a message: number -> list of values, which are ints or bytes."""
    found, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        match key & 7:
            case 0:
                value, at = read_varint(data, at)
            case 1:
                value, at = int.from_bytes(data[at : at + 8], "little"), at + 8
            case 2:
                length, at = read_varint(data, at)
                value, at = data[at : at + length], at + length
                assert len(value) == length, "a field is cut"
            case other:
                raise AssertionError(f"wire type {other} is not in use")
        found.setdefault(key >> 3, []).append(value)
    return found


def one(message, field, default=0):
    return message.get(field, [default])[-1]


async def read_frame(reader):
    """The next frame of a stream, or None at its end."""
    prefix = await reader.read(1)
    if not prefix:
        return None
    while prefix[-1] > 127:
        assert len(prefix) < 4, "a length has more than four bytes"
        prefix += await reader.readexactly(1)
    assert prefix == varint(read_varint(prefix, 0)[0]), "a length is not in its shortest form"
    length, _ = read_varint(prefix, 0)
    assert length <= FRAME_BYTES_MAX, f"a frame of {length} bytes"
    return await reader.readexactly(length)


def framed(body):
    return varint(len(body)) + body


def read_entry(data):
    entry = fields(data)
    return {
        "channel": one(entry, 1, b"").decode(),
        "payload": one(entry, 2, b""),
        "publisher": one(entry, 3),
        "number": one(entry, 4),
        "session": one(entry, 6),
        "count": one(entry, 7),
        "datagram": bool(one(entry, 8)),
    }


def read_event(payload):
    """What a message on a channel of presence says."""
    event = fields(payload)
    return {
        "kind": EVENTS[one(event, 1)],
        "client": one(event, 2, b"").decode(),
        "state": one(event, 3, b"").decode(),
        "occupancy": one(event, 4),
        "clients": one(event, 5),
        "joined": one(event, 6),
        "left": one(event, 7),
    }


def read_region(data):
    region = fields(data)
    return {"occupancy": one(region, 2), "as_of_us": one(region, 3), "reachable": bool(one(region, 4))}


def read_occupant(data):
    occupant = fields(data)
    client, state, node = (one(occupant, field, b"").decode() for field in (1, 2, 3))
    return {"client": client, "state": state, "node": node, "since_us": one(occupant, 4)}


# A client.


class Refused(Exception):
    def __init__(self, error):
        error = fields(error)
        self.code, self.text = one(error, 1), one(error, 2, b"").decode()
        super().__init__(f"{self.code:#x}: {self.text}")


class Quic(QuicConnectionProtocol):
    """Keeps what the streams do not show: datagrams, and how the connection ended."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.datagrams = asyncio.Queue()
        self.close_code = None

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived):
            self.datagrams.put_nowait(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.close_code = event.error_code
        super().quic_event_received(event)

    def send_datagram(self, data):
        self._quic.send_datagram_frame(data)
        self.transmit()


class Session:
    def __init__(self, tasks, instance, connects):
        self.tasks = tasks
        self.request = 0
        self.instance = instance
        self.connects = connects
        self.publisher = random.getrandbits(64)
        self.numbers = {}
        self.stream_count = self.datagram_count = 0
        self.waiting = {}
        self.parts = {}
        self.unacked = []
        self.acks = []
        self.all_acked = asyncio.Event()
        self.subscriptions = {}
        self.background = []
        self.closing = False

    async def open(self, quic, token, versions=(1, 1)):
        """Says hello. Returns the fields of the welcome."""
        self.quic = quic
        self.reader, self.writer = await quic.create_stream()
        low, high = versions
        hello = uint(1, low) + uint(2, high) + text(3, token) + fixed(5, self.instance) + text(6, "python/1")
        hello += uint(7, self.connects)
        request = self.send(text(2, hello))
        frame = fields(await read_frame(self.reader))
        assert one(frame, 1) == request, "an answer to another request"
        if 6 in frame:
            raise Refused(one(frame, 6))
        self.background = [self.tasks.create_task(task()) for task in (self.keep_alive, self.take_answers)]
        return fields(one(frame, 2))

    def send(self, body):
        self.request += 1
        self.writer.write(framed(uint(1, self.request) + body))
        return self.request

    async def keep_alive(self):
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            await self.quic.ping()

    async def take_answers(self):
        while (frame := await read_frame(self.reader)) is not None:
            answer = fields(frame)
            request = one(answer, 1)
            if 3 in answer:
                self.acked(request, fields(one(answer, 3)))
            elif 6 in answer:
                self.waiting.pop(request).set_exception(Refused(one(answer, 6)))
            elif 11 in answer or 12 in answer:
                self.take_part(request, fields(one(answer, 11 if 11 in answer else 12)))
            elif request:
                self.waiting.pop(request).set_result(answer)
        if not self.closing:
            await self.quic.wait_closed()
            raise AssertionError(f"the node ended the session with code {self.quic.close_code:#x}")

    def take_part(self, request, part):
        """The answer to a question of presence: a list of parts, of which all but the last say that there are more."""
        parts = self.parts.setdefault(request, [])
        parts.append(part)
        if not one(part, 2):
            self.waiting.pop(request).set_result(self.parts.pop(request))

    def acked(self, last, ack):
        """An ack is for a range of publishes, and the ranges come in order."""
        first = one(ack, 1)
        assert one(ack, 2) == LEVEL_VOLATILE, "a volatile channel acks otherwise"
        due, self.unacked = self.unacked[: last - first + 1], self.unacked[last - first + 1 :]
        assert due == list(range(first, last + 1)), f"the ack of {first} to {last} is for {due}"
        self.acks.append([first, last])
        if not self.unacked:
            self.all_acked.set()

    async def answer(self, request):
        self.waiting[request] = asyncio.get_running_loop().create_future()
        return await self.waiting[request]

    def publish(self, channel, payload):
        """Publishes without waiting for the ack."""
        self.stream_count += 1
        request = self.send(text(3, self.message(channel, payload, self.stream_count)))
        self.unacked.append(request)
        self.all_acked.clear()
        return request

    def publish_datagram(self, channel, payload):
        self.datagram_count += 1
        self.quic.send_datagram(text(3, self.message(channel, payload, self.datagram_count)))

    def message(self, channel, payload, count):
        number = self.numbers[channel] = self.numbers.get(channel, 0) + 1
        return text(1, channel) + text(2, payload) + fixed(3, self.publisher) + uint(4, number) + uint(5, count)

    async def subscribe(self, *patterns):
        """Returns the subscription's number, the queue of its deliveries, and the regions that are pending."""
        request = self.send(text(4, b"".join(text(1, pattern) for pattern in patterns)))
        deliveries = self.subscriptions[request] = asyncio.Queue()
        answer = fields(one(await self.answer(request), 4))
        return request, deliveries, [region.decode() for region in answer.get(1, [])]

    async def unsubscribe(self, subscription):
        answer = await self.answer(self.send(text(5, uint(1, subscription))))
        assert 5 in answer, "not an UnsubscribeOk"

    async def enter(self, channel, state=""):
        """Is present on the channel from now on, or says something else of itself there."""
        answer = await self.answer(self.send(text(6, text(1, channel) + text(2, state))))
        assert 9 in answer, "not an EnterOk"

    async def leave(self, channel):
        answer = await self.answer(self.send(text(7, text(1, channel))))
        assert 10 in answer, "not a LeaveOk"

    async def who(self, *channels):
        """Who is on these channels, by channel; one may be in several parts of the answer."""
        found = {}
        query = b"".join(text(1, channel) for channel in channels) + uint(2, 1)
        for part in await self.answer(self.send(text(8, query))):
            for channel in map(fields, part.get(1, [])):
                regions = {one(fields(region), 1).decode(): read_region(region) for region in channel.get(4, [])}
                fresh = {"occupancy": one(channel, 2), "clients": one(channel, 3), "regions": regions, "occupants": []}
                presence = found.setdefault(one(channel, 1).decode(), fresh)
                presence["occupants"] += [read_occupant(occupant) for occupant in channel.get(5, [])]
        return found

    async def where(self, client):
        """Where a client is: a list of channel, node and region. All nodes must have been asked."""
        parts = await self.answer(self.send(text(9, text(1, client))))
        assert not any(3 in part for part in parts), "a node could not be asked"
        places = [fields(place) for part in parts for place in part.get(1, [])]
        return [[one(place, field).decode() for field in (1, 2, 3)] for place in places]

    async def take_deliveries(self, reader):
        """Reads a stream that the node opened, to its end, which is told as None."""
        subscription = one(fields(await read_frame(reader)), 1)
        while (frame := await read_frame(reader)) is not None:
            delivery = fields(frame)
            assert 2 not in delivery, f"{one(fields(one(delivery, 2)), 1)} messages were dropped"
            self.subscriptions[subscription].put_nowait(read_entry(one(delivery, 1)))
        self.subscriptions[subscription].put_nowait(None)

    async def close(self):
        """Ends the session in good order: the node finishes its side of the stream, too."""
        keep_alive, answers = self.background
        self.closing = True
        self.writer.write_eof()
        await answers
        keep_alive.cancel()

    def go_elsewhere(self):
        """Ends the session of a client that comes back: with code 0 it would leave all channels."""
        for task in self.background:
            task.cancel()
        self.quic.close(error_code=GOAWAY)


# The scenarios.

OWN, THEIRS, GRAMS = "live.py.room", "live.rust.room", "live.py.grams"
DESK, HALL = "live.py.desk", "live.py.hall"
OWN_COUNT, THEIRS_COUNT = 100, 20


class Node(NamedTuple):
    """Where a node is, whom it must be certified by, and the token to show it."""

    host: str
    port: int
    ca_file: str
    token: str


async def receive(deliveries, count_of):
    """Reads until as many messages of each channel have come; they must be numbered 1, 2, 3, …"""
    seen = {channel: [] for channel in count_of}
    while any(len(seen[channel]) < count for channel, count in count_of.items()):
        entry = await deliveries.get()
        assert not entry["datagram"], "a message of a stream is marked as a datagram"
        of_channel = seen[entry["channel"]]
        of_channel.append(entry)
        assert entry["number"] == len(of_channel), f"{entry} is number {len(of_channel)} to arrive"
    for entries in seen.values():
        assert len({(entry["publisher"], entry["session"]) for entry in entries}) == 1, "two publishers in one channel"
        counts = [entry["count"] for entry in entries]
        assert counts == sorted(set(counts)), f"counts do not rise: {counts}"
    return {channel: [entry["payload"].decode() for entry in entries] for channel, entries in seen.items()}


async def refused_publish(session, channel):
    """A publish that must be refused; its error."""
    request = session.publish(channel, "x")
    session.unacked.remove(request)
    try:
        await session.answer(request)
    except Refused as refused:
        return {"code": refused.code, "text": refused.text}
    raise AssertionError(f"a publish to {channel} was not refused")


async def exchange_datagrams(session, subscription):
    """Publishes datagrams until one comes back: any of them may be lost. Returns its payload."""
    arrived = asyncio.ensure_future(session.quic.datagrams.get())
    while not arrived.done():
        session.publish_datagram(GRAMS, f"datagram {session.datagram_count + 1}")
        await asyncio.wait([arrived], timeout=0.2)
    datagram = fields(arrived.result())
    assert one(datagram, 1) == subscription, "a datagram for another subscription"
    entry = read_entry(one(datagram, 2))
    assert entry["datagram"] and entry["channel"] == GRAMS and entry["publisher"] == session.publisher, entry
    assert 1 <= entry["count"] <= session.datagram_count, entry
    return entry["payload"].decode()


async def converse(quic, session, node):
    """All that a client does in a session that goes well."""
    welcome = await session.open(quic, node.token)
    subscription, deliveries, pending = await session.subscribe(OWN, THEIRS)
    grams, _, _ = await session.subscribe(GRAMS)
    print(json.dumps({"subscribed": [OWN, THEIRS, GRAMS], "pending": pending}), flush=True)

    sent = [f"message {n}" for n in range(1, OWN_COUNT + 1)]
    for payload in sent:
        session.publish(OWN, payload)
    seen = await receive(deliveries, {OWN: OWN_COUNT, THEIRS: THEIRS_COUNT})
    assert seen[OWN] == sent, seen[OWN]
    await session.all_acked.wait()

    datagram = await exchange_datagrams(session, grams)
    refused = await refused_publish(session, "live..room")
    assert refused["code"] == BAD_CHANNEL, refused
    session.publish(OWN, "the session goes on")
    assert (await deliveries.get())["payload"] == b"the session goes on"
    await session.all_acked.wait()

    await session.unsubscribe(subscription)
    assert await deliveries.get() is None, "a delivery after the end of the subscription"
    await session.close()
    return {
        "version": one(welcome, 1),
        "node": one(welcome, 4).decode(),
        "region": one(welcome, 5).decode(),
        "client_id": one(welcome, 8).decode(),
        "entry_points": len(welcome.get(7, [])),
        "acks": session.acks,
        "received": {channel: len(payloads) for channel, payloads in seen.items()},
        "from_rust": seen[THEIRS],
        "datagram": datagram,
        "bad_channel": refused,
    }


async def single_event(events):
    """The next event of one client. Sums may come between, to tell how things stand."""
    while True:
        entry = await events.get()
        assert entry["channel"] == f"farwire:presence.{DESK}", entry
        event = read_event(entry["payload"])
        if event["kind"] != "interval":
            return [event["kind"], event["client"], event["state"], event["occupancy"]]


async def sum_of_nobody(counts):
    """Reads sums until nobody is there any more; who came and went by them."""
    joined = left = 0
    while True:
        event = read_event((await counts.get())["payload"])
        assert event["kind"] == "interval", event
        joined, left = joined + event["joined"], left + event["left"]
        if event["occupancy"] == event["clients"] == 0:
            return [joined, left]


async def watch_presence(quic, session, node):
    """Watches a channel on which somebody else is, and the own client in sessions of its own."""
    await session.open(quic, node.token)
    _, events, pending = await session.subscribe(f"farwire:presence.{DESK}")
    _, counts, _ = await session.subscribe(f"farwire:counts.{DESK}")
    _, hall, _ = await session.subscribe(f"farwire:presence.{HALL}")
    print(json.dumps({"watching": DESK, "pending": pending}), flush=True)
    seen = [await single_event(events)]

    async def sit_down(quic, session, node):
        await session.open(quic, node.token)
        await session.enter(DESK, '{"at":"door"}')
        seen.append(await single_event(events))
        await session.enter(DESK, '{"at":"desk"}')
        seen.append(await single_event(events))
        present = await session.who("live.py.nobody", DESK)
        assert list(present) == ["live.py.nobody", DESK], "not in the order of the question"
        places = {occupant["client"]: await session.where(occupant["client"]) for occupant in present[DESK]["occupants"]}
        session.go_elsewhere()
        return {"present": present, "places": places}

    async def come_back(quic, session, node):
        await session.open(quic, node.token)
        await session.enter(DESK, '{"at":"sofa"}')
        seen.append(await single_event(events))
        await session.leave(DESK)
        seen.append(await single_event(events))
        await session.close()

    instance = random.getrandbits(64)
    present = await in_session(sit_down, node, instance)
    # Nodes collect news: had the client left by going, its leave would be told by the time that something later is.
    await session.enter(HALL)
    assert read_event((await hall.get())["payload"])["kind"] == "join"
    await in_session(come_back, node, instance, connects=2)
    print(json.dumps(present), flush=True)
    seen.append(await single_event(events))
    refused = await refused_enter(session, "elsewhere")
    came_and_went = await sum_of_nobody(counts)
    await session.close()
    return {"events": seen, "came_and_went": came_and_went, "forbidden": refused}


async def refused_enter(session, channel):
    """The code with which the session may not be present there."""
    try:
        await session.enter(channel)
    except Refused as refused:
        assert refused.code == FORBIDDEN, refused
        return refused.code
    raise AssertionError(f"an enter of {channel} was not refused")


async def refused_version(quic, session, node):
    """A client of a version that no node speaks: told in a frame, and again in the close."""
    try:
        await session.open(quic, node.token, versions=(99, 99))
    except Refused as refused:
        await quic.wait_closed()
        assert refused.code == quic.close_code == UNSUPPORTED_VERSION, f"{refused}, closed with {quic.close_code}"
        return {"code": refused.code, "text": refused.text}
    raise AssertionError("version 99 was not refused")


async def in_session(scenario, node, instance=None, connects=1):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["farwire/1"], idle_timeout=5.0)
    configuration.max_datagram_frame_size = 65_535
    configuration.load_verify_locations(node.ca_file)
    async with asyncio.TaskGroup() as tasks:
        session = Session(tasks, instance or random.getrandbits(64), connects)

        def accept(reader, _writer):
            tasks.create_task(session.take_deliveries(reader))

        # The server name is the host, and the certificate must name it.
        async with connect(
            node.host, node.port, configuration=configuration, create_protocol=Quic, stream_handler=accept
        ) as quic:
            return await scenario(quic, session, node)


async def main(host, port, ca_file):
    node = Node(host, int(port), ca_file, os.environ["FARWIRE_TOKEN"])
    async with asyncio.timeout(50):
        seen = await in_session(converse, node)
        seen["version_99"] = await in_session(refused_version, node)
        seen["presence"] = await in_session(watch_presence, node)
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: FARWIRE_TOKEN=… python3 client.py HOST PORT CA_FILE")
    asyncio.run(main(*sys.argv[1:]))
