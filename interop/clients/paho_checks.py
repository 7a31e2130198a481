"""Eclipse Paho for Python against a broker: see checks.py, and mosquitto_checks.sh for MQTT_URL."""

import os
import queue
import ssl
import threading
from urllib.parse import urlparse

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from checks import RESTART, check, eventually, restart, run, same

URL = urlparse(os.environ.get("MQTT_URL", "mqtt://guest:guest@127.0.0.1:1883"))
WS = os.environ.get("WS_URL")
MQTTS = os.environ.get("MQTTS_URL")
WSS = os.environ.get("WSS_URL")
PREFIX = "clients/paho"
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class Client:
    """One connection, with what came to it in a queue."""

    def __init__(self, version=mqtt.MQTTv311, name="", clean=True, url=URL, expiry=None, will=None, password=None, auto=False):
        transport = "websockets" if url.scheme.startswith("ws") else "tcp"
        kwargs = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.c = mqtt.Client(client_id=name, protocol=version, transport=transport, **kwargs)
        self.c.username_pw_set(URL.username, password or URL.password)
        if url.scheme in ("mqtts", "wss"):
            self.c.tls_set(ca_certs=os.environ["MQTT_CA"], cert_reqs=ssl.CERT_REQUIRED)
        if transport == "websockets":
            self.c.ws_set_options(path=url.path)
        if will:
            self.c.will_set(*will)
        self.came, self.codes, self.acks = queue.Queue(), queue.Queue(), queue.Queue()
        self.closed = threading.Event()
        self.c.on_message = lambda c, u, m: self.came.put(m)
        self.c.on_connect = lambda c, u, flags, rc, props=None: self.codes.put((flags, rc, props))
        self.c.on_subscribe = lambda c, u, mid, codes, props=None: self.acks.put(codes)
        self.c.on_disconnect = lambda *a: self.closed.set()
        kwargs = {}
        if version == mqtt.MQTTv5:
            kwargs["clean_start"] = clean
            if expiry:
                kwargs["properties"] = Properties(PacketTypes.CONNECT)
                kwargs["properties"].SessionExpiryInterval = expiry
        self.c.connect(url.hostname, url.port, 60, **kwargs)
        self.c.loop_start()
        self.flags, self.code, self.props = self.codes.get(timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.disconnect()
        self.c.loop_stop()

    def subscribe(self, *args, **kwargs):
        self.c.subscribe(*args, **kwargs)
        return self.acks.get(timeout=10)

    def publish(self, topic, body, qos=1, **kwargs):
        self.c.publish(topic, body, qos, **kwargs).wait_for_publish(timeout=10)

    def next(self, seconds=10):
        return self.came.get(timeout=seconds)

    def nothing(self, seconds=0.5):
        try:
            m = self.came.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError("%r came to %s" % (m.payload, m.topic))


def each_qos(version, url=URL):
    with Client(version, url=url) as c:
        same(c.code, 0)
        c.subscribe(PREFIX + "/each", 2)
        for qos in (0, 1, 2):
            c.publish(PREFIX + "/each", "body %d" % qos, qos)
            m = c.next()
            same((m.payload, m.qos, m.topic, m.retain), (b"body %d" % qos, qos, PREFIX + "/each", False))


for text, version in VERSIONS.items():
    check("version %s: each QoS" % text)(lambda version=version: each_qos(version))
for text, url in {"TLS": MQTTS, "WebSocket": WS, "secure WebSocket": WSS}.items():
    for v in ("3.1.1", "5"):
        check("version %s over %s: each QoS" % (v, text), needs=[url])(lambda v=v, url=url: each_qos(VERSIONS[v], urlparse(url)))


@check("a wrong password is refused: return code 4, reason 0x86")
def _():
    with Client(mqtt.MQTTv311, password="wrong") as c:
        same(c.code, 4)
    with Client(mqtt.MQTTv5, password="wrong") as c:
        same(c.code.value, 0x86)


@check("retained messages: kept, found by wildcard, removed")
def _():
    with Client() as c:
        c.publish(PREFIX + "/retained/a", "kept", retain=True)
        c.subscribe(PREFIX + "/retained/+", 1)
        m = c.next()
        same((m.payload, m.retain), (b"kept", True))
        c.publish(PREFIX + "/retained/a", "", retain=True)
        same(c.next().retain, False)
    with Client() as c:
        c.subscribe(PREFIX + "/retained/#", 1)
        c.nothing()


@check("the will of a connection that breaks")
def _():
    with Client() as watcher:
        watcher.subscribe(PREFIX + "/will", 1)
        dies = Client(will=(PREFIX + "/will", "gone", 1))
        dies.c.loop_stop()
        dies.c.socket().shutdown(2)
        same(watcher.next().payload, b"gone")


@check("a session before MQTT 5: what comes meanwhile is kept, in order")
def _():
    with Client(name="paho-session", clean=False) as c:
        c.subscribe(PREFIX + "/session", 2)
    with Client() as other:
        for i in range(20):
            other.publish(PREFIX + "/session", str(i), 1 + i % 2)
    with Client(name="paho-session", clean=False) as c:
        same(c.flags["session present"], 1)
        same(sorted(int(c.next().payload) for _ in range(20)), list(range(20)))
    with Client(name="paho-session", clean=True) as c:
        same(c.flags["session present"], 0)


@check("a session of MQTT 5 with an expiry outlives its connection")
def _():
    with Client(mqtt.MQTTv5, "paho-expiry", True, expiry=60) as c:
        c.subscribe(PREFIX + "/expiry", 1)
    with Client() as other:
        other.publish(PREFIX + "/expiry", "waited")
    with Client(mqtt.MQTTv5, "paho-expiry", False, expiry=1) as c:
        same(c.next().payload, b"waited")


@check("properties of MQTT 5 come unaltered, user properties in their order")
def _():
    with Client(mqtt.MQTTv5) as c:
        c.subscribe(PREFIX + "/properties", 1)
        p = Properties(PacketTypes.PUBLISH)
        p.ContentType, p.ResponseTopic, p.CorrelationData, p.PayloadFormatIndicator = "text/plain", "a/b", b"\x00\x01", 1
        p.MessageExpiryInterval = 100
        p.UserProperty = [("z", "1"), ("a", "2"), ("z", "3")]
        c.publish(PREFIX + "/properties", "body", properties=p)
        got = c.next().properties
        same((got.ContentType, got.ResponseTopic, got.CorrelationData, got.PayloadFormatIndicator), ("text/plain", "a/b", b"\x00\x01", 1))
        same(got.UserProperty, [("z", "1"), ("a", "2"), ("z", "3")])
        same(got.MessageExpiryInterval in (99, 100), True)


@check("subscription options: no local, retain as published, retain handling; identifiers")
def _():
    with Client(mqtt.MQTTv5) as c, Client(mqtt.MQTTv5) as other:
        p = Properties(PacketTypes.SUBSCRIBE)
        p.SubscriptionIdentifier = 7
        other.publish(PREFIX + "/options", "before", retain=True)
        c.subscribe(PREFIX + "/options", options=SubscribeOptions(1, noLocal=True, retainAsPublished=True, retainHandling=2), properties=p)
        c.publish(PREFIX + "/options", "mine")
        other.publish(PREFIX + "/options", "theirs", retain=True)
        m = c.next()
        same((m.payload, m.retain, m.properties.SubscriptionIdentifier), (b"theirs", True, [7]))
        other.publish(PREFIX + "/options", "", retain=True)


@check("a shared subscription: each message once, both members get some")
def _():
    with Client(mqtt.MQTTv5) as a, Client(mqtt.MQTTv5) as b, Client(mqtt.MQTTv5) as other:
        for c in (a, b):
            c.subscribe("$share/workers/" + PREFIX + "/shared", 1)
        for i in range(40):
            other.publish(PREFIX + "/shared", str(i))
        eventually(lambda: a.came.qsize() + b.came.qsize() == 40)
        got = [m.payload for c in (a, b) for m in list(c.came.queue)]
        same(len(set(got)), 40)
        same(a.came.qsize() > 0 and b.came.qsize() > 0, True)


@check("a broker names a client that has no name; the second of a name ends the first")
def _():
    with Client(mqtt.MQTTv5) as c:
        same(len(c.props.AssignedClientIdentifier) > 0, True)
    with Client(name="paho-twice") as first:
        first.c.on_disconnect = lambda *a: (first.closed.set(), first.c.loop_stop())
        with Client(name="paho-twice"):
            same(first.closed.wait(10), True)
            first.c.disconnect()


@check("twelve megabytes come as they were sent")
def _():
    with Client() as c:
        body = os.urandom(12 << 20)
        c.subscribe(PREFIX + "/large", 1)
        c.publish(PREFIX + "/large", body)
        same(c.next(30).payload == body, True)


@check("after kill -9 the client connects again by itself, and its session is there", needs=[RESTART])
def _():
    with Client(mqtt.MQTTv311, "paho-killed", clean=False) as c:
        c.c.reconnect_delay_set(1, 1)
        c.subscribe(PREFIX + "/killed", 2)
        c.publish(PREFIX + "/killed", "before", 2)
        same(c.next().payload, b"before")
        c.c.publish(PREFIX + "/stays", "kept", 1, retain=True).wait_for_publish(timeout=10)
        restart()
        flags, code, _ = c.codes.get(timeout=20)
        same((code, flags["session present"]), (0, 1))
        with Client() as other:
            other.publish(PREFIX + "/killed", "after", 2)
            other.subscribe(PREFIX + "/stays", 1)
            same(other.next().payload, b"kept")
            other.publish(PREFIX + "/stays", "", retain=True)
        same(c.next().payload, b"after")
        c.nothing()


if __name__ == "__main__":
    version = getattr(paho.mqtt, "__version__", "")
    run("paho for Python %s" % version)
