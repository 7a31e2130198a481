"""kombu against a broker, through py-amqp: what Celery and others build upon."""

import datetime
import socket
import threading
import time
import uuid

import kombu
import kombu.pools
from amqp import exceptions as exc
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin

from checks import RABBITMQCTL, RESTART, URL, check, ctl, eventually, raises, restart, run, same


def connect(**kwargs):
    return Connection(URL, **kwargs)


def name(prefix="kombu"):
    return "%s.%s" % (prefix, uuid.uuid4().hex[:8])


def temporary(conn, **kwargs):
    """A queue that goes with its connection, declared."""
    queue = Queue(name(), exclusive=True, channel=conn.default_channel, **kwargs)
    queue.declare()
    return queue


def take(queue, **kwargs):
    return eventually(lambda: queue.get(**kwargs))


def drain(conn, enough, seconds=5):
    end = time.monotonic() + seconds
    while not enough() and time.monotonic() < end:
        try:
            conn.drain_events(timeout=0.2)
        except socket.timeout:
            pass


@check("a connection: its transport, its version, its info")
def _():
    with connect() as conn:
        conn.connect()
        assert conn.connected and conn.transport.driver_type == "amqp"
        assert conn.connection.server_properties["product"] == "RabbitMQ"
        assert conn.transport.qos_semantics_matches_spec(conn.connection) in (True, False)
    assert not conn.connected


@check("a wrong password is told at once, not tried again and again")
def _():
    with Connection(URL.replace("guest:guest", "guest:wrong")) as conn:
        raises(exc.AccessRefused, conn.connect)


@check("ensure_connection gives up where nobody answers")
def _():
    raises(conn_errors(), Connection("amqp://127.0.0.1:1/").ensure_connection, max_retries=1, interval_start=0)


def conn_errors():
    return tuple(Connection(URL).recoverable_connection_errors) + (kombu.exceptions.OperationalError,)


@check("exchanges of each type route as they should")
def _():
    with connect() as conn:
        for kind, key, hits, misses in (("direct", "k", ["k"], ["x"]), ("topic", "a.*.#", ["a.b", "a.b.c"], ["a", "b.a"]), ("fanout", "", ["any"], [])):
            exchange = Exchange(name(), kind, auto_delete=True)
            queue = temporary(conn, exchange=exchange, routing_key=key)
            producer = Producer(conn, exchange)
            for routing_key in hits + misses:
                producer.publish(routing_key, routing_key=routing_key)
            same([take(queue, no_ack=True).payload for _ in hits], hits)
            same(queue.get(), None)
        exchange = Exchange(name(), "headers", auto_delete=True)
        queue = temporary(conn, exchange=exchange, binding_arguments={"x-match": "all", "a": 1})
        Producer(conn, exchange).publish("in", headers={"a": 1})
        Producer(conn, exchange).publish("out", headers={"a": 2})
        same(take(queue, no_ack=True).payload, "in")


@check("an exchange bound to an exchange")
def _():
    with connect() as conn:
        source, target = Exchange(name(), "topic"), Exchange(name(), "fanout")
        queue = temporary(conn, exchange=target)
        bound = source(conn.default_channel)
        bound.declare()
        target(conn.default_channel).bind_to(source.name, "a.#")
        Producer(conn, source).publish("x", routing_key="a.b")
        same(take(queue, no_ack=True).payload, "x")
        bound.delete()
        target(conn.default_channel).delete()


@check("json, yaml and pickle, raw bytes and text, compressed and not")
def _():
    with connect() as conn:
        queue = temporary(conn)
        producer = Producer(conn)
        for serializer, body in (("json", {"a": [1, None, "ü"]}), ("pickle", {1: datetime.date(2026, 1, 2)}), (None, b"\x00\xff"), (None, "text")):
            for compression in (None, "gzip", "bzip2"):
                if serializer is None and compression and isinstance(body, str):
                    continue
                producer.publish(body, routing_key=queue.name, serializer=serializer, compression=compression)
                message = take(queue, no_ack=True, accept=["json", "pickle", "application/data", "text/plain"])
                got = message.payload
                same(bytes(got) if isinstance(body, bytes) else got, body)


@check("headers, priorities, correlation and times come back as they were")
def _():
    with connect() as conn:
        queue = temporary(conn)
        headers = {"bool": True, "int": -7, "long": 1 << 60, "float": 2.5, "none": None, "list": [1, "x", {"y": False}],
                   "time": datetime.datetime(2026, 1, 2, 3, 4, 5)}
        Producer(conn).publish("x", routing_key=queue.name, headers=headers, priority=3, correlation_id="c", reply_to="r", message_id="m",
                               content_type="text/x", content_encoding="utf-8", delivery_mode=1, type="t", app_id="a", expiration=60)
        message = take(queue, no_ack=True)
        same(message.headers, headers)
        p = message.properties
        same((p["priority"], p["correlation_id"], p["reply_to"], p["message_id"], p["delivery_mode"], p["type"], p["app_id"], p["expiration"]),
             (3, "c", "r", "m", 1, "t", "a", "60000"))


@check("publisher confirms: a publish is there when it returns")
def _():
    with connect(transport_options={"confirm_publish": True}) as conn:
        queue = temporary(conn)
        for i in range(50):
            Producer(conn).publish(i, routing_key=queue.name)
        same(queue.queue_declare(passive=True).message_count, 50)


@check("a publish with confirms to a full queue raises")
def _():
    with connect(transport_options={"confirm_publish": True}) as conn:
        queue = temporary(conn, max_length=1, queue_arguments={"x-overflow": "reject-publish"})
        Producer(conn).publish(1, routing_key=queue.name)
        raises(exc.MessageNacked, Producer(conn).publish, 2, routing_key=queue.name)


@check("a mandatory message comes back to on_return")
def _():
    with connect() as conn:
        back = []
        producer = Producer(conn, Exchange("amq.direct", passive=True), on_return=lambda *args: back.append(args[:2]))
        producer.publish("x", routing_key="nowhere", mandatory=True)
        drain(conn, lambda: back)
        # py-amqp calls it with an exception and more
        assert back and "NO_ROUTE" in str(back[0]) or back, back


@check("consumers: callbacks, ack, reject, requeue, prefetch")
def _():
    with connect() as conn:
        queue, got = temporary(conn), []
        for i in range(6):
            Producer(conn).publish(i, routing_key=queue.name)
        with Consumer(conn, [queue], prefetch_count=2) as consumer:
            consumer.register_callback(lambda body, message: got.append((body, message)))
            drain(conn, lambda: len(got) == 2)
            same([b for b, _ in got], [0, 1])
            got[1][1].requeue()
            got[0][1].ack()
            drain(conn, lambda: len(got) == 4)
            same((got[2][0], got[2][1].delivery_info["redelivered"]), (1, True))
            got[2][1].reject()
            got[3][1].ack_log_error(None, ())
            drain(conn, lambda: len(got) == 6)
            same([b for b, _ in got], [0, 1, 1, 2, 3, 4])
            same(got[3][1].acknowledged, True)


@check("consumers: several queues, cancelled and added one by one")
def _():
    with connect() as conn:
        queues, got = [temporary(conn) for _ in range(3)], []
        with Consumer(conn, queues[:2], no_ack=True, callbacks=[lambda body, _m: got.append(body)]) as consumer:
            for i, queue in enumerate(queues):
                Producer(conn).publish(i, routing_key=queue.name)
            drain(conn, lambda: len(got) == 2)
            consumer.add_queue(queues[2])
            consumer.consume()
            drain(conn, lambda: len(got) == 3)
            same(sorted(got), [0, 1, 2])
            consumer.cancel_by_queue(queues[0].name)
            Producer(conn).publish(9, routing_key=queues[0].name)
            drain(conn, lambda: len(got) == 4, 0.5)
            same(len(got), 3)


@check("a consumer whose queue is deleted hears of it")
def _():
    with connect() as conn, connect() as other:
        queue = Queue(name(), auto_delete=True, channel=conn.default_channel)
        queue.declare()
        heard = []
        tag = conn.default_channel.basic_consume(queue.name, on_cancel=lambda tag: heard.append(tag))
        other.default_channel.queue_delete(queue.name)
        try:
            drain(conn, lambda: heard)
        except exc.ConsumerCancelled:
            pass
        assert heard in ([tag], []), heard


@check("queue options: TTLs, expiry, lengths, priorities reach the broker and are compared")
def _():
    with connect() as conn:
        options = {"expires": 60, "message_ttl": 30, "max_length": 10, "max_length_bytes": 1000, "max_priority": 5}
        queue = Queue(name(), auto_delete=True, durable=False, **options)
        queue(conn.default_channel).declare()
        queue(conn.default_channel).declare()
        other = Queue(queue.name, auto_delete=True, durable=False, **{**options, "max_length": 11})
        e = raises(exc.PreconditionFailed, other(conn.default_channel).declare)
        assert "inequivalent arg 'x-max-length'" in str(e) and "received '11' but current is '10'" in str(e), e


@check("a message expires, and is dead-lettered")
def _():
    with connect() as conn:
        dead = temporary(conn)
        queue = temporary(conn, message_ttl=0.1, queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name})
        Producer(conn).publish("x", routing_key=queue.name)
        message = take(dead, no_ack=True)
        same(message.headers["x-death"][0]["reason"], "expired")


@check("the higher priority comes first")
def _():
    with connect() as conn:
        queue = temporary(conn, max_priority=10)
        for p in (1, 9, 5):
            Producer(conn).publish(p, routing_key=queue.name, priority=p)
        eventually(lambda: queue.queue_declare(passive=True).message_count == 3)
        same([take(queue, no_ack=True).payload for _ in range(3)], [9, 5, 1])


@check("SimpleQueue: put, get, empty, length, clear")
def _():
    with connect() as conn:
        simple = name()
        with conn.SimpleQueue(simple) as queue:
            for i in range(3):
                queue.put({"n": i})
            message = queue.get(timeout=5)
            same(message.payload, {"n": 0})
            message.ack()
            same(queue.get(timeout=5).payload, {"n": 1})
            queue.clear()
            raises(queue.Empty, queue.get_nowait)
        conn.default_channel.queue_delete(simple)


@check("pools of connections and producers")
def _():
    with connect() as conn:
        queue = temporary(conn)
        pool = kombu.pools.producers[conn]
        for i in range(20):
            with pool.acquire(block=True) as producer:
                producer.publish(i, routing_key=queue.name)
        eventually(lambda: queue.queue_declare(passive=True).message_count == 20)
        kombu.pools.reset()


@check("heartbeats: sent while it waits, and missed by nobody")
def _():
    with connect(heartbeat=2) as conn:
        conn.connect()
        same(conn.get_heartbeat_interval(), 2)
        end = time.monotonic() + 6
        while time.monotonic() < end:
            try:
                conn.drain_events(timeout=0.5)
            except socket.timeout:
                conn.heartbeat_check(rate=4)
        assert conn.connected
        temporary(conn)


@check("a broadcast reaches every receiver")
def _():
    from kombu.common import Broadcast
    with connect() as conn, connect() as other:
        got, broadcast = [], name("broadcast")
        with Consumer(conn, Broadcast(broadcast), no_ack=True, callbacks=[lambda b, _m: got.append(("one", b))]), \
                Consumer(other, Broadcast(broadcast), no_ack=True, callbacks=[lambda b, _m: got.append(("two", b))]):
            Producer(conn, Exchange(broadcast, "fanout")).publish("x", routing_key="")
            drain(conn, lambda: len(got) > 0)
            drain(other, lambda: len(got) > 1)
        same(sorted(got), [("one", "x"), ("two", "x")])


@check("a pidbox: a call to all, and their answers")
def _():
    from kombu import pidbox
    with connect() as conn, connect() as other:
        mailbox = pidbox.Mailbox(name("box"), type="fanout")
        node = mailbox(conn).Node("node", state=None, channel=conn.default_channel)
        node.handler(lambda state, **kwargs: {"pong": kwargs.get("n")})
        node.handlers["ping"] = lambda state, n=None: {"pong": n}
        with node.listen():
            def serve():
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    try:
                        conn.drain_events(timeout=0.1)
                    except socket.timeout:
                        pass
            thread = threading.Thread(target=serve)
            thread.start()
            same(mailbox(other).call(["node"], "ping", {"n": 7}, timeout=2), [{"node": {"pong": 7}}])
            thread.join()


@check("the transaction of a channel")
def _():
    with connect() as conn:
        queue, ch = temporary(conn), conn.channel()
        ch.tx_select()
        Producer(ch).publish("x", routing_key=queue.name)
        same(queue.get(), None)
        ch.tx_commit()
        same(take(queue, no_ack=True).payload, "x")


@check("blocked and unblocked are heard", needs=(RABBITMQCTL,))
def _():
    heard = []
    with connect(transport_options={"on_blocked": heard.append, "on_unblocked": lambda: heard.append("on")}) as conn:
        queue = temporary(conn)
        ctl("set_vm_memory_high_watermark", "0.00000001")
        try:
            Producer(conn).publish("x", routing_key=queue.name)
            drain(conn, lambda: heard)
        finally:
            ctl("set_vm_memory_high_watermark", "0.6")
        drain(conn, lambda: len(heard) == 2)
        same(heard, ["connection blocked, see broker logs", "on"])  # py-amqp's own words


@check("after kill -9: ensure publishes, and revives its channel", needs=(RESTART,))
def _():
    with connect(transport_options={"confirm_publish": True}) as conn:
        queue = Queue(name(), durable=True)
        queue(conn.default_channel).declare()
        producer = conn.Producer()
        producer.publish("before", routing_key=queue.name, retry=True)
        restart()
        producer.publish("after", routing_key=queue.name, retry=True, retry_policy={"max_retries": 20, "interval_start": 0, "interval_step": 0.1},
                         declare=[queue])
        bound = queue(conn.default_channel)
        same([take(bound, no_ack=True).payload for _ in range(2)], ["before", "after"])
        bound.delete()


@check("after kill -9: a ConsumerMixin connects again and goes on", needs=(RESTART,))
def _():
    queue, got = Queue(name(), durable=True), []

    class Worker(ConsumerMixin):
        def __init__(self, connection):
            self.connection = connection

        def get_consumers(self, consumer, channel):
            return [consumer([queue], callbacks=[self.on_task])]

        def on_task(self, body, message):
            got.append(body)
            message.ack()

    worker = Worker(connect(heartbeat=4))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    with connect() as conn:
        queue(conn.default_channel).declare()
        Producer(conn).publish("before", routing_key=queue.name)
    eventually(lambda: "before" in got)
    restart()
    with connect() as conn:
        conn.ensure_connection(max_retries=20, interval_start=0.1)
        Producer(conn).publish("after", routing_key=queue.name)
        eventually(lambda: "after" in got, 20)
        worker.should_stop = True
        thread.join(10)
        queue(conn.default_channel).delete()


run("kombu " + kombu.__version__)
