"""pika against a broker: what its BlockingConnection and its SelectConnection can do."""

import datetime
import decimal
import threading
import time

import pika
from pika import exceptions as exc

from checks import BATON, RABBITMQCTL, RESTART, URL, check, ctl, eventually, raises, restart, run, same

P = pika.BasicProperties


def connect(query="", **properties):
    parameters = pika.URLParameters(URL + query)
    for name, value in properties.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)


class Channel:
    """A channel on a connection of its own, for as long as a check takes. A publish waits for its confirm."""

    def __init__(self, confirm=True):
        self.confirm = confirm

    def __enter__(self):
        self.conn = connect()
        ch = self.conn.channel()
        if self.confirm:
            ch.confirm_delivery()
        return ch

    def __exit__(self, *_):
        if self.conn.is_open:
            self.conn.close()


def fresh(ch, arguments=None, **kwargs):
    kwargs.setdefault("exclusive", True)
    return ch.queue_declare("", arguments=arguments, **kwargs).method.queue


def send(ch, queue, body, properties=None, **kwargs):
    ch.basic_publish("", queue, body, properties or P(), **kwargs)


def take(ch, queue, auto_ack=True):
    """The next message of the queue, which may still be on its way there."""
    return eventually(lambda: (lambda got: got if got[0] else None)(ch.basic_get(queue, auto_ack)))


def empty(ch, queue):
    same(ch.basic_get(queue)[0], None)


def count(ch, queue):
    return ch.queue_declare(queue, passive=True).method.message_count


def closed(ch, code, text, f, *args, **kwargs):
    """f closes the channel with this code and a text that has this part, and the connection stays."""
    e = raises(exc.ChannelClosedByBroker, f, *args, **kwargs)
    same(e.reply_code, code)
    assert text in e.reply_text, e.reply_text
    assert ch.connection.is_open if hasattr(ch.connection, "is_open") else True


@check("the broker's properties have what pika looks at")
def _():
    with Channel() as ch:
        properties = ch.connection._impl.server_properties
        for name in ("basic.nack", "publisher_confirms", "consumer_cancel_notify", "exchange_exchange_bindings", "connection.blocked"):
            assert properties["capabilities"][name] is True, name
        assert ch.connection.basic_nack_supported and ch.connection.consumer_cancel_notify_supported
        assert ch.connection.exchange_exchange_bindings_supported and ch.connection.publisher_confirms_supported


@check("a wrong password is refused as such")
def _():
    raises(exc.ProbableAuthenticationError, connect, credentials=pika.PlainCredentials("guest", "wrong"))


@check("an unknown virtual host is refused as such")
def _():
    raises((exc.ProbableAccessDeniedError, exc.ConnectionClosedByBroker), connect, virtual_host="nowhere")


@check("queues: declared, declared again, passively, named by the broker, deleted")
def _():
    with Channel() as ch:
        name = fresh(ch)
        assert name.startswith("amq.gen-"), name
        for _ in range(2):
            same(ch.queue_declare("pika.named", exclusive=True, arguments={"x-mine": "kept"}).method.queue, "pika.named")
        send(ch, name, b"x")
        same(eventually(lambda: count(ch, name)), 1)
        same(ch.queue_purge(name).method.message_count, 1)
        same(ch.queue_delete(name).method.message_count, 0)
        same(ch.queue_delete(name).method.message_count, 0)


@check("a passive declaration of what is not there is 404")
def _():
    with Channel() as ch:
        closed(ch, 404, "no queue 'pika.none' in vhost '/'", ch.queue_declare, "pika.none", passive=True)
    with Channel() as ch:
        closed(ch, 404, "no exchange 'pika.none' in vhost '/'", ch.exchange_declare, "pika.none", passive=True)


@check("an unequal declaration is 406 and says what differs")
def _():
    with Channel() as ch:
        ch.queue_declare("pika.named", auto_delete=True)
        closed(ch, 406, "inequivalent arg 'durable' for queue 'pika.named' in vhost '/': received 'true' but current is 'false'",
               ch.queue_declare, "pika.named", durable=True, auto_delete=True)
    with Channel() as ch:
        ch.queue_delete("pika.named")
    with Channel() as ch:
        closed(ch, 406, "inequivalent arg 'type' for exchange 'amq.direct'", ch.exchange_declare, "amq.direct", "fanout", durable=True)


@check("an exclusive queue of another connection is 405")
def _():
    with Channel() as ch, Channel() as other:
        closed(other, 405, "cannot obtain exclusive access to locked queue", other.queue_declare, fresh(ch), passive=True)


@check("deletion: if-unused and if-empty are kept to")
def _():
    with Channel() as ch:
        name = fresh(ch)
        send(ch, name, b"x")
        eventually(lambda: count(ch, name))
        closed(ch, 406, "not empty", ch.queue_delete, name, if_empty=True)
        ch = ch.connection.channel()
        ch.basic_consume(name, lambda *_: None)
        closed(ch, 406, "in use", ch.queue_delete, name, if_unused=True)


@check("a confirmed publish is where it was sent")
def _():
    with Channel() as ch:
        name = fresh(ch)
        for i in range(100):
            send(ch, name, b"%d" % i, P(delivery_mode=2), mandatory=True)
        same(count(ch, name), 100)


@check("a mandatory message without a queue comes back before its confirm")
def _():
    with Channel() as ch:
        e = raises(exc.UnroutableError, ch.basic_publish, "amq.direct", "nowhere", b"body", P(message_id="m"), mandatory=True)
        back = e.messages[0]
        same((back.method.reply_code, back.method.reply_text, back.method.exchange, back.method.routing_key),
             (312, "NO_ROUTE", "amq.direct", "nowhere"))
        same((back.properties.message_id, back.body), ("m", b"body"))


@check("a publish to an exchange that is not there closes the channel with 404")
def _():
    with Channel() as ch:
        closed(ch, 404, "no exchange 'pika.none' in vhost '/'", ch.basic_publish, "pika.none", "", b"x")


@check("every property comes back as it was")
def _():
    with Channel() as ch:
        name = fresh(ch)
        sent = P(content_type="text/plain", content_encoding="utf-8", headers={"a": 1}, delivery_mode=2, priority=7, correlation_id="c",
                 reply_to="r", expiration="60000", message_id="m", timestamp=1234567890, type="t", user_id="guest", app_id="app", cluster_id="k")
        send(ch, name, b"x", sent)
        same(vars(take(ch, name)[1]), vars(sent))


@check("every type of a header comes back as it was")
def _():
    with Channel() as ch:
        name = fresh(ch)
        headers = {
            "bool": True, "int": 1 << 30, "negative": -5, "long": 1 << 62, "text": "grüße", "bytes": b"\x00\xff", "none": None,
            "decimal": decimal.Decimal("3.14"), "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
            "table": {"list": [1, "two", [-3, {"deep": False}]], "empty": {}}, "list": [],
        }
        send(ch, name, b"x", P(headers=headers))
        same(take(ch, name)[1].headers, headers)


@check("a body of 10 MB, and an empty one")
def _():
    with Channel() as ch:
        name = fresh(ch)
        for body in (bytes(range(256)) * 40000, b""):
            send(ch, name, body)
            assert take(ch, name)[2] == body


@check("a user_id that is not the user's is 406")
def _():
    with Channel() as ch:
        closed(ch, 406, "user_id property set to 'eve' but authenticated user was 'guest'", send, ch, fresh(ch), b"x", P(user_id="eve"))


@check("get: tag, count of what is left, redelivered after a return to the queue")
def _():
    with Channel() as ch:
        name = fresh(ch)
        for body in (b"1", b"2", b"3"):
            send(ch, name, body)
        eventually(lambda: count(ch, name) == 3)
        method, _, body = ch.basic_get(name)
        same((method.delivery_tag, method.message_count, method.redelivered, body), (1, 2, False, b"1"))
        ch.basic_nack(method.delivery_tag, requeue=True)
        method, _, body = take(ch, name, False)
        same((method.redelivered, body), (True, b"1"))
        ch.basic_reject(method.delivery_tag, requeue=False)
        same(take(ch, name)[2], b"2")


@check("consume: prefetch holds deliveries back, ack multiple lets them go on, in order")
def _():
    with Channel() as ch:
        name = fresh(ch)
        ch.basic_qos(prefetch_count=10)
        got = []
        ch.basic_consume(name, lambda _c, m, _p, body: got.append((m.delivery_tag, int(body))))
        for i in range(25):
            send(ch, name, b"%d" % i)
        ch.connection.process_data_events(0.3)
        same(got, [(i + 1, i) for i in range(10)])
        ch.basic_ack(10, multiple=True)
        ch.connection.process_data_events(0.3)
        same(got, [(i + 1, i) for i in range(20)])
        ch.basic_nack(0, multiple=True, requeue=False)
        ch.connection.process_data_events(0.3)
        same(len(got), 25)


@check("qos of the whole channel counts its consumers together")
def _():
    with Channel() as ch:
        first, second = fresh(ch), fresh(ch)
        ch.basic_qos(prefetch_count=3, global_qos=True)
        got = []
        for name in (first, second):
            for _ in range(5):
                send(ch, name, b"x")
            ch.basic_consume(name, lambda _c, m, _p, _b: got.append(m.delivery_tag))
        ch.connection.process_data_events(0.3)
        same(len(got), 3)


@check("an acknowledgement of an unknown tag is 406")
def _():
    with Channel() as ch:
        name = fresh(ch)
        ch.basic_ack(7)
        closed(ch, 406, "PRECONDITION_FAILED - unknown delivery tag 7", ch.queue_declare, name, passive=True)


@check("recover brings back what is not acknowledged, marked as redelivered")
def _():
    with Channel() as ch:
        name = fresh(ch)
        send(ch, name, b"x")
        take(ch, name, False)
        ch.basic_recover(requeue=True)
        same(take(ch, name)[0].redelivered, True)


@check("what a closed channel had not acknowledged goes back, in order")
def _():
    with Channel() as ch:
        name = fresh(ch)
        for body in (b"1", b"2"):
            send(ch, name, body)
        other = ch.connection.channel()
        take(other, name, False), take(other, name, False)
        other.close()
        same([take(ch, name)[2] for _ in range(2)], [b"1", b"2"])


@check("the generator interface: consume, and cancel returns what was prefetched")
def _():
    with Channel() as ch:
        name = fresh(ch)
        for i in range(10):
            send(ch, name, b"%d" % i)
        for method, _, body in ch.consume(name, inactivity_timeout=2):
            ch.basic_ack(method.delivery_tag)
            if body == b"4":
                break
        ch.cancel()
        eventually(lambda: count(ch, name) == 5)


@check("a consumer hears that its queue is gone")
def _():
    with Channel() as ch, Channel() as other:
        name = fresh(ch, exclusive=False, auto_delete=True)
        cancelled = []
        ch.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        tag = ch.basic_consume(name, lambda *_: None)
        other.queue_delete(name)
        ch.connection.process_data_events(1)
        same(cancelled, [tag])


@check("an exclusive consumer is alone, and others get 403")
def _():
    with Channel() as ch, Channel() as other:
        name = fresh(ch, exclusive=False, auto_delete=True)
        ch.basic_consume(name, lambda *_: None, exclusive=True)
        closed(other, 403, "in exclusive use", other.basic_consume, name, lambda *_: None)


@check("a queue with auto-delete goes with its last consumer")
def _():
    with Channel() as ch:
        name = fresh(ch, exclusive=False, auto_delete=True)
        ch.basic_cancel(ch.basic_consume(name, lambda *_: None))
        closed(ch, 404, "no queue", ch.queue_declare, name, passive=True)


@check("exchanges: direct, fanout, topic and headers lead where they should")
def _():
    with Channel() as ch:
        for kind, key, arguments, hits, misses in (
            ("direct", "k", None, [("k", None)], [("K", None), ("", None)]),
            ("fanout", "", None, [("any", None), ("", None)], []),
            ("topic", "a.*.#", None, [("a.b", None), ("a.b.c.d", None)], [("a", None), ("b.a", None)]),
            ("headers", "", {"x-match": "all", "h": 1, "i": "two"}, [("", {"h": 1, "i": "two", "j": 0})], [("", {"h": 1}), ("", None)]),
            ("headers", "", {"x-match": "any", "h": 1, "i": "two"}, [("", {"h": 1}), ("", {"i": "two"})], [("", {"h": 2}), ("", None)]),
        ):
            exchange, name = "pika." + kind, fresh(ch)
            ch.exchange_declare(exchange, kind, auto_delete=True)
            ch.queue_bind(name, exchange, key, arguments)
            for routing_key, headers in hits + misses:
                ch.basic_publish(exchange, routing_key, b"x", P(headers=headers))
            same(count(ch, name), len(hits))
            ch.queue_unbind(name, exchange, key, arguments)
            ch.exchange_delete(exchange)


@check("bindings between exchanges, and an alternate exchange")
def _():
    with Channel() as ch:
        name, other = fresh(ch), fresh(ch)
        ch.exchange_declare("pika.alt", "fanout")
        ch.exchange_declare("pika.first", "direct", arguments={"alternate-exchange": "pika.alt"})
        ch.exchange_declare("pika.second", "fanout")
        ch.exchange_bind("pika.second", "pika.first", "k")
        ch.queue_bind(name, "pika.second")
        ch.queue_bind(other, "pika.alt")
        ch.basic_publish("pika.first", "k", b"1")
        ch.basic_publish("pika.first", "else", b"2")
        same((take(ch, name)[2], take(ch, other)[2]), (b"1", b"2"))
        ch.exchange_unbind("pika.second", "pika.first", "k")
        ch.basic_publish("pika.first", "k", b"3")
        same(take(ch, other)[2], b"3")
        for exchange in ("pika.first", "pika.second", "pika.alt"):
            ch.exchange_delete(exchange)


@check("an internal exchange takes nothing from clients")
def _():
    with Channel() as ch:
        ch.exchange_declare("pika.internal", "fanout", internal=True, auto_delete=True)
        closed(ch, 403, "cannot publish to internal exchange 'pika.internal' in vhost '/'", ch.basic_publish, "pika.internal", "", b"x")
    with Channel() as ch:
        ch.exchange_delete("pika.internal")


@check("CC and BCC route, and BCC is not seen")
def _():
    with Channel() as ch:
        to, cc, bcc = fresh(ch), fresh(ch), fresh(ch)
        send(ch, to, b"x", P(headers={"CC": [cc], "BCC": [bcc]}))
        for name in (to, cc, bcc):
            same(take(ch, name)[1].headers, {"CC": [cc]})


@check("tx: what is committed is there, what is rolled back is not")
def _():
    with Channel(confirm=False) as ch, Channel() as other:
        name = fresh(ch, exclusive=False, auto_delete=True)
        ch.tx_select()
        send(ch, name, b"1")
        same(count(other, name), 0)
        ch.tx_commit()
        same(count(other, name), 1)
        send(ch, name, b"2")
        ch.tx_rollback()
        same(count(other, name), 1)
        method, _, _ = ch.basic_get(name)
        ch.basic_ack(method.delivery_tag)
        ch.tx_rollback()
        ch.basic_ack(method.delivery_tag)
        ch.tx_commit()
        same(ch.queue_delete(name).method.message_count, 0)


@check("tx and confirms exclude one another")
def _():
    with Channel(confirm=False) as ch:
        ch.tx_select()
        closed(ch, 406, "cannot switch from tx to confirm mode", ch.confirm_delivery)


@check("messages expire: of the queue's TTL, of their own, and of the lesser")
def _():
    with Channel() as ch:
        by_queue, by_message = fresh(ch, {"x-message-ttl": 100}), fresh(ch, {"x-message-ttl": 60000})
        send(ch, by_queue, b"x", P(expiration="60000"))
        send(ch, by_message, b"x", P(expiration="100"))
        same((count(ch, by_queue), count(ch, by_message)), (1, 1))
        eventually(lambda: count(ch, by_queue) + count(ch, by_message) == 0, 3)


@check("a queue expires that nobody uses")
def _():
    with Channel() as ch:
        name = fresh(ch, {"x-expires": 200}, exclusive=False)
        time.sleep(1)
        closed(ch, 404, "no queue", ch.queue_declare, name, passive=True)


@check("arguments that make no sense are refused with 406")
def _():
    for arguments, text in (
        ({"x-message-ttl": -1}, "invalid arg 'x-message-ttl'"), ({"x-max-length": "x"}, "invalid arg 'x-max-length'"),
        ({"x-expires": 0}, "invalid arg 'x-expires'"), ({"x-overflow": "explode"}, "invalid arg 'x-overflow'"),
        ({"x-max-priority": 256}, "invalid arg 'x-max-priority'"), ({"x-dead-letter-routing-key": "k"}, "invalid arg 'x-dead-letter-routing-key'"),
    ):
        with Channel() as ch:
            closed(ch, 406, text, fresh, ch, arguments)


def dead_letters(ch, arguments=None):
    dead = fresh(ch)
    return fresh(ch, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead, **(arguments or {})}), dead


@check("a rejected message is dead-lettered, and says why")
def _():
    with Channel() as ch:
        name, dead = dead_letters(ch)
        send(ch, name, b"x", P(headers={"mine": 1}))
        ch.basic_reject(take(ch, name, False)[0].delivery_tag, requeue=False)
        method, properties, body = take(ch, dead)
        death = properties.headers["x-death"][0]
        same((body, method.routing_key, properties.headers["mine"]), (b"x", dead, 1))
        same((death["reason"], death["queue"], death["exchange"], death["routing-keys"], death["count"]), ("rejected", name, "", [name], 1))
        same(properties.headers["x-first-death-queue"], name)
        same(properties.headers["x-first-death-reason"], "rejected")


@check("an expired message is dead-lettered without its expiration")
def _():
    with Channel() as ch:
        name, dead = dead_letters(ch)
        send(ch, name, b"x", P(expiration="50"))
        _, properties, _ = take(ch, dead)
        death = properties.headers["x-death"][0]
        same((properties.expiration, death["reason"], death["original-expiration"]), (None, "expired", "50"))


@check("a full queue drops its oldest message, which is dead-lettered")
def _():
    with Channel() as ch:
        name, dead = dead_letters(ch, {"x-max-length": 2})
        for body in (b"1", b"2", b"3"):
            send(ch, name, body)
        _, properties, body = take(ch, dead)
        same((body, properties.headers["x-death"][0]["reason"]), (b"1", "maxlen"))
        same(take(ch, name)[2], b"2")


@check("a full queue that rejects lets the publisher know")
def _():
    with Channel() as ch:
        name = fresh(ch, {"x-max-length": 1, "x-overflow": "reject-publish"})
        send(ch, name, b"1")
        raises(exc.NackError, send, ch, name, b"2")
        same(take(ch, name)[2], b"1")
        send(ch, name, b"3")


@check("a queue full by bytes drops its oldest message")
def _():
    with Channel() as ch:
        name = fresh(ch, {"x-max-length-bytes": 100})
        for c in b"abc":
            send(ch, name, bytes([c]) * 40)
        same(count(ch, name), 2)
        same(take(ch, name)[2], b"b" * 40)


@check("a message that goes in a circle without a rejection is dropped, with one it comes back")
def _():
    with Channel() as ch:
        name = "pika.circle"
        ch.queue_declare(name, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name, "x-message-ttl": 100})
        send(ch, name, b"x")
        ch.basic_reject(take(ch, name, False)[0].delivery_tag, requeue=False)
        eventually(lambda: count(ch, name) == 1)
        ch.basic_reject(take(ch, name, False)[0].delivery_tag, requeue=False)
        eventually(lambda: count(ch, name) == 1)
        _, properties, _ = take(ch, name, False)
        same(properties.headers["x-death"][0]["count"], 2)
        ch.queue_delete(name)


@check("the higher priority comes first")
def _():
    with Channel() as ch:
        name = fresh(ch, {"x-max-priority": 10})
        for priority in (0, 5, 10, 5, None, 200):
            send(ch, name, str(priority).encode(), P(priority=priority))
        eventually(lambda: count(ch, name) == 6)
        same([take(ch, name)[2] for _ in range(6)], [b"10", b"200", b"5", b"5", b"0", b"None"])


@check("the consumer of the higher priority is served first")
def _():
    with Channel() as ch:
        name, got = fresh(ch), []
        for tag, priority in (("low", -1), ("high", 10), ("none", None)):
            c = ch.connection.channel()
            c.basic_qos(prefetch_count=1)
            c.basic_consume(name, lambda _c, m, _p, _b: got.append(m.consumer_tag), consumer_tag=tag,
                            arguments={} if priority is None else {"x-priority": priority})
        for _ in range(3):
            send(ch, name, b"x")
            ch.connection.process_data_events(0.2)
        same(got, ["high", "none", "low"])


@check("a single active consumer is followed by the next")
def _():
    with Channel() as ch:
        name, got = fresh(ch, {"x-single-active-consumer": True}), []
        for tag in ("first", "second"):
            ch.basic_consume(name, lambda _c, m, _p, body: got.append((m.consumer_tag, body)), auto_ack=True, consumer_tag=tag)
        send(ch, name, b"1")
        send(ch, name, b"2")
        ch.connection.process_data_events(0.3)
        ch.basic_cancel("first")
        send(ch, name, b"3")
        eventually(lambda: ch.connection.process_data_events(0.1) or len(got) == 3)
        same(got, [("first", b"1"), ("first", b"2"), ("second", b"3")])


@check("a quorum queue counts deliveries and gives up at its limit")
def _():
    with Channel() as ch:
        dead = fresh(ch)
        ch.queue_declare("pika.quorum", durable=True, arguments={
            "x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        try:
            send(ch, "pika.quorum", b"x")
            for n in range(3):
                method, properties, _ = take(ch, "pika.quorum", False)
                same((properties.headers or {}).get("x-delivery-count", 0), n)
                ch.basic_nack(method.delivery_tag, requeue=True)
            same(take(ch, dead)[1].headers["x-death"][0]["reason"], "delivery_limit")
        finally:
            ch.queue_delete("pika.quorum")


@check("direct reply-to: a request and its answer without a queue")
def _():
    with Channel() as ch, Channel() as server:
        name, got = fresh(server, exclusive=False, auto_delete=True), []
        ch.basic_consume("amq.rabbitmq.reply-to", lambda _c, _m, p, body: got.append((p.correlation_id, body)), auto_ack=True)
        send(ch, name, b"ping", P(reply_to="amq.rabbitmq.reply-to", correlation_id="c"))
        _, properties, _ = take(server, name)
        assert properties.reply_to.startswith("amq.rabbitmq.reply-to."), properties.reply_to
        send(server, properties.reply_to, b"pong", P(correlation_id=properties.correlation_id))
        ch.connection.process_data_events(1)
        same(got, [("c", b"pong")])
        server.queue_delete(name)


@check("a delayed message comes when it is due", needs=(BATON,))
def _():
    with Channel() as ch:
        name = fresh(ch)
        ch.exchange_declare("pika.delayed", "x-delayed-message", auto_delete=True, arguments={"x-delayed-type": "direct"})
        ch.queue_bind(name, "pika.delayed", "k")
        sent = time.monotonic()
        ch.basic_publish("pika.delayed", "k", b"late", P(headers={"x-delay": 500}))
        ch.basic_publish("pika.delayed", "k", b"now")
        same([take(ch, name)[2] for _ in range(2)], [b"now", b"late"])
        assert time.monotonic() - sent >= 0.5
        ch.exchange_delete("pika.delayed")


@check("a consistent-hash exchange spreads keys, each always to one queue", needs=(BATON,))
def _():
    with Channel() as ch:
        ch.exchange_declare("pika.hash", "x-consistent-hash", auto_delete=True)
        names = [fresh(ch) for _ in range(2)]
        for name in names:
            ch.queue_bind(name, "pika.hash", "10")
        for _ in range(2):
            for i in range(100):
                ch.basic_publish("pika.hash", "key %d" % i, b"%d" % i)
        seen = []
        for name in names:
            seen.append({take(ch, name)[2] for _ in range(count(ch, name))})
        assert not seen[0] & seen[1] and min(map(len, seen)) > 20, [len(s) for s in seen]
        ch.exchange_delete("pika.hash")


@check("a duplicate is confirmed and dropped", needs=(BATON,))
def _():
    with Channel() as ch:
        name = fresh(ch, {"x-deduplication-window": 60000})
        for _ in range(3):
            send(ch, name, b"x", P(headers={"x-deduplication-id": "one"}))
        send(ch, name, b"y", P(headers={"x-deduplication-id": "two"}))
        same(count(ch, name), 2)


@check("many channels on one connection")
def _():
    with Channel() as ch:
        channels = [ch.connection.channel() for _ in range(500)]
        names = [fresh(c) for c in channels]
        for c, name in zip(channels, names):
            send(c, name, name.encode())
        for c, name in zip(reversed(channels), reversed(names)):
            same(take(c, name)[2], name.encode())


@check("a connection that says nothing lives by its heartbeats")
def _():
    conn = connect(heartbeat=1)
    same(conn._impl.params.heartbeat, 1)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        conn.process_data_events(0.5)
    assert conn.is_open
    conn.close()


@check("a connection that is dead is closed by the broker", needs=(BATON,))
def _():
    conn, other = connect(heartbeat=1), connect()
    name = conn.channel().queue_declare("pika.dead", exclusive=True).method.queue
    time.sleep(4)  # pika sends heartbeats only when it is given the time
    other.channel().queue_declare(name, exclusive=True)
    other.close()


@check("a publisher hears that it is blocked, and that it is not any more", needs=(RABBITMQCTL,))
def _():
    with Channel(confirm=False) as ch:
        name, heard = fresh(ch), []
        ch.connection.add_on_connection_blocked_callback(lambda _c, m: heard.append(m.method.reason))
        ch.connection.add_on_connection_unblocked_callback(lambda _c, _m: heard.append("on"))
        ctl("set_vm_memory_high_watermark", "0.00000001")
        try:
            send(ch, name, b"x")
            ch.connection.process_data_events(1)
            same(heard, ["low on memory"])
        finally:
            ctl("set_vm_memory_high_watermark", "0.6")
        ch.connection.process_data_events(2)
        same(heard, ["low on memory", "on"])
        same(take(ch, name)[2], b"x")


@check("two threads: one consumes, one publishes, nothing is missing")
def _():
    with Channel() as ch:
        name, got = fresh(ch, exclusive=False, auto_delete=True), []

        def consume():
            with Channel() as mine:
                mine.basic_qos(prefetch_count=50)
                for method, _, body in mine.consume(name, inactivity_timeout=5):
                    if method is None:
                        return
                    got.append(int(body))
                    mine.basic_ack(method.delivery_tag)
                    if len(got) == 2000:
                        return

        reader = threading.Thread(target=consume)
        reader.start()
        for i in range(2000):
            send(ch, name, b"%d" % i)
        reader.join(30)
        same(got, list(range(2000)))


@check("SelectConnection: a publish with a confirm, a delivery, an orderly close")
def _():
    seen = []

    def on_open(conn):
        conn.channel(on_open_callback=on_channel)

    def on_channel(ch):
        ch.confirm_delivery(lambda frame: (seen.append(type(frame.method).__name__), done(ch)))
        ch.queue_declare("", exclusive=True, callback=lambda frame: on_queue(ch, frame.method.queue))

    def on_queue(ch, name):
        ch.basic_consume(name, lambda _c, _m, _p, body: (seen.append(body), done(ch)), auto_ack=True)
        ch.basic_publish("", name, b"hello", P(delivery_mode=2))

    def done(ch):
        if len(seen) == 2:
            ch.connection.close()

    conn = pika.SelectConnection(pika.URLParameters(URL), on_open_callback=on_open, on_close_callback=lambda c, _e: c.ioloop.stop())
    guard = threading.Timer(10, lambda: conn.ioloop.add_callback_threadsafe(conn.ioloop.stop))
    guard.start()
    conn.ioloop.start()
    guard.cancel()
    same(sorted(map(str, seen)), ["Ack", "b'hello'"])


@check("after kill -9: what was confirmed is there, once, and in order", needs=(RESTART,))
def _():
    with Channel() as ch:
        ch.queue_delete("pika.durable")
        ch.queue_declare("pika.durable", durable=True)
        ch.exchange_declare("pika.kept", "topic", durable=True)
        ch.queue_bind("pika.durable", "pika.kept", "#")
        ch.confirm_delivery()
        for i in range(200):
            ch.basic_publish("pika.kept", "k", b"%d" % i, P(delivery_mode=2))
        restart()
        raises(exc.AMQPConnectionError, ch.basic_publish, "pika.kept", "k", b"lost")
    with Channel() as ch:
        same([int(take(ch, "pika.durable")[2]) for _ in range(200)], list(range(200)))
        empty(ch, "pika.durable")
        ch.queue_delete("pika.durable")
        ch.exchange_delete("pika.kept")


@check("after kill -9: a consumer that connects again goes on", needs=(RESTART,))
def _():
    with Channel() as ch:
        ch.queue_declare("pika.durable", durable=True)
        ch.confirm_delivery()
        for i in range(10):
            send(ch, "pika.durable", b"%d" % i, P(delivery_mode=2))
    got, restarted = set(), False
    while len(got) < 10:
        try:
            with Channel() as ch:
                ch.basic_qos(prefetch_count=3)
                for method, _, body in ch.consume("pika.durable", inactivity_timeout=5):
                    assert method, "no delivery"
                    ch.basic_ack(method.delivery_tag)
                    got.add(int(body))
                    if len(got) == 5 and not restarted:
                        restarted = True
                        restart()
                    if len(got) == 10:
                        break
        except exc.AMQPConnectionError:
            pass
    with Channel() as ch:
        ch.queue_delete("pika.durable")
    same((restarted, got), (True, set(range(10))))


run("pika " + pika.__version__)
