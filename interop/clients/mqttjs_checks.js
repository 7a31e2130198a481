// MQTT.js (npm's mqtt) against a broker: its promises, its events, its reconnecting. See checks.py and mosquitto_checks.sh for what the
// environment says.
'use strict';

const { execFileSync } = require('child_process');
const fs = require('fs');
const assert = require('assert/strict');
const { randomBytes } = require('crypto');
const mqtt = require('mqtt');
const { check, sleep, eventually, run } = require('./checks');
const { version } = JSON.parse(fs.readFileSync(require.resolve('mqtt/package.json')));

const { MQTT_URL = 'mqtt://guest:guest@127.0.0.1:1883', WS_URL, MQTTS_URL, WSS_URL, MQTT_CA, RESTART } = process.env;
const prefix = 'clients/mqttjs';
const client = `MQTT.js ${version}`;

async function connect(options = {}, url = MQTT_URL) {
  const login = new URL(MQTT_URL);
  const bare = new URL(url);
  bare.username = bare.password = ''; // they would override the options
  const c = await mqtt.connectAsync(bare.href, {
    username: login.username, password: login.password, reconnectPeriod: 0, ...(MQTT_CA && { ca: fs.readFileSync(MQTT_CA) }), ...options,
  }, false);
  c.came = [];
  c.on('message', (topic, payload, packet) => c.came.push({ topic, text: payload.toString(), payload, packet }));
  c.on('error', () => {});
  c.next = () => eventually(() => c.came.shift());
  return c;
}

// withClients gives f a connection for each set of options, and ends them.
async function withClients(options, f) {
  const clients = [];
  try {
    for (const o of options) clients.push(await connect(o));
    await f(...clients);
  } finally {
    await Promise.all(clients.map((c) => c.endAsync(true)));
  }
}

const v5 = { protocolVersion: 5 };
const v311 = { protocolVersion: 4 };
const v31 = { protocolVersion: 3, protocolId: 'MQIsdp' };

async function eachQoS(options, url) {
  const c = await connect(options, url);
  try {
    await c.subscribeAsync(`${prefix}/each`, { qos: 2 });
    for (const qos of [0, 1, 2]) {
      await c.publishAsync(`${prefix}/each`, `body ${qos}`, { qos });
      const m = await c.next();
      assert.deepEqual([m.text, m.packet.qos, m.packet.retain], [`body ${qos}`, qos, false]);
    }
  } finally {
    await c.endAsync(true);
  }
}

for (const [name, options] of Object.entries({ 3.1: v31, '3.1.1': v311, 5: v5 })) {
  check(`version ${name}: each QoS`, () => eachQoS(options));
}
for (const [name, url] of Object.entries({ TLS: MQTTS_URL, WebSocket: WS_URL, 'secure WebSocket': WSS_URL })) {
  check(`version 3.1.1 over ${name}: each QoS`, () => eachQoS(v311, url), url);
  check(`version 5 over ${name}: each QoS`, () => eachQoS(v5, url), url);
}

check('a wrong password is refused: return code 4, reason 0x86', async () => {
  await assert.rejects(connect({ ...v311, password: 'wrong' }), (e) => e.code === 4);
  await assert.rejects(connect({ ...v5, password: 'wrong' }), (e) => e.code === 0x86);
});

check('retained messages: kept, found by wildcard, removed', () => withClients([v5, v5], async (a, b) => {
  await a.publishAsync(`${prefix}/retained/a`, 'kept', { qos: 1, retain: true });
  await b.subscribeAsync(`${prefix}/retained/+`, { qos: 1 });
  const m = await b.next();
  assert.deepEqual([m.text, m.packet.retain], ['kept', true]);
  await a.publishAsync(`${prefix}/retained/a`, '', { qos: 1, retain: true });
  assert.equal((await b.next()).packet.retain, false);
}));

check('the will of a connection that breaks, and not of one that ends', () => withClients([
  v5, { ...v5, will: { topic: `${prefix}/will`, payload: 'broken', qos: 1 } }, { ...v5, will: { topic: `${prefix}/will`, payload: 'ended', qos: 1 } },
], async (watcher, breaks, ends) => {
  await watcher.subscribeAsync(`${prefix}/will`, { qos: 1 });
  await ends.endAsync();
  breaks.stream.destroy();
  assert.equal((await watcher.next()).text, 'broken');
  await sleep(200);
  assert.equal(watcher.came.length, 0);
}));

for (const [name, there, again] of [
  ['before MQTT 5', { ...v311, clean: false }, { ...v311, clean: false }],
  ['of MQTT 5', { ...v5, clean: true, properties: { sessionExpiryInterval: 60 } }, { ...v5, clean: false }],
]) {
  check(`a session ${name}: what comes meanwhile is kept, in order`, () => withClients([v5], async (other) => {
    const clientId = `mqttjs-session-${there.protocolVersion}`;
    let c = await connect({ ...there, clientId });
    await c.subscribeAsync(`${prefix}/session`, { qos: 1 });
    await c.endAsync();
    for (let i = 0; i < 20; i++) await other.publishAsync(`${prefix}/session`, `${i}`, { qos: 1 });
    const came = [];
    c = mqtt.connect(MQTT_URL, { reconnectPeriod: 0, ...again, clientId }); // it listens before anything can come
    c.on('message', (_topic, payload) => came.push(+payload.toString()));
    await eventually(() => came.length === 20);
    assert.deepEqual(came, [...Array(20).keys()]);
    await c.endAsync();
    await (await connect({ ...there, clientId, clean: true, properties: undefined })).endAsync();
  }));
}

check('properties of MQTT 5 come unaltered', () => withClients([v5], async (c) => {
  await c.subscribeAsync(`${prefix}/properties`, { qos: 1, properties: { subscriptionIdentifier: 9 } });
  await c.publishAsync(`${prefix}/properties`, 'body', {
    qos: 1,
    properties: {
      contentType: 'text/plain', responseTopic: 'a/b', correlationData: Buffer.from([0, 1]), payloadFormatIndicator: true,
      messageExpiryInterval: 100, userProperties: { z: ['1', '3'], a: '2' },
    },
  });
  const p = (await c.next()).packet.properties;
  assert.deepEqual([p.contentType, p.responseTopic, [...p.correlationData], p.payloadFormatIndicator, p.subscriptionIdentifier],
    ['text/plain', 'a/b', [0, 1], true, 9]);
  assert.deepEqual({ ...p.userProperties }, { z: ['1', '3'], a: '2' });
  assert([99, 100].includes(p.messageExpiryInterval));
}));

check('topic aliases both ways', () => withClients([{ ...v5, autoUseTopicAlias: true, autoAssignTopicAlias: true, properties: { topicAliasMaximum: 10 } }],
  async (c) => {
    await c.subscribeAsync(`${prefix}/a/rather/long/topic`, { qos: 0 });
    for (let i = 0; i < 5; i++) {
      await c.publishAsync(`${prefix}/a/rather/long/topic`, `${i}`);
      const m = await c.next();
      assert.deepEqual([m.topic, m.text], [`${prefix}/a/rather/long/topic`, `${i}`]);
    }
  }));

check('subscription options: no local, retain as published, retain handling', () => withClients([v5, v5], async (c, other) => {
  await other.publishAsync(`${prefix}/options`, 'before', { qos: 1, retain: true });
  await c.subscribeAsync(`${prefix}/options`, { qos: 1, nl: true, rap: true, rh: 2 });
  await c.publishAsync(`${prefix}/options`, 'mine', { qos: 1 });
  await other.publishAsync(`${prefix}/options`, 'theirs', { qos: 1, retain: true });
  const m = await c.next();
  assert.deepEqual([m.text, m.packet.retain], ['theirs', true]);
  await other.publishAsync(`${prefix}/options`, '', { qos: 1, retain: true });
}));

check('a shared subscription: each message once, both members get some', () => withClients([v5, v5, v5], async (a, b, other) => {
  for (const c of [a, b]) await c.subscribeAsync(`$share/workers/${prefix}/shared`, { qos: 1 });
  for (let i = 0; i < 40; i++) await other.publishAsync(`${prefix}/shared`, `${i}`, { qos: 1 });
  await eventually(() => a.came.length + b.came.length === 40);
  assert.equal(new Set([...a.came, ...b.came].map((m) => m.text)).size, 40);
  assert(a.came.length > 0 && b.came.length > 0);
}));

check('nobody there: the publisher is told so', () => withClients([v5], async (c) => {
  let reason;
  c.on('packetreceive', (packet) => { if (packet.cmd === 'puback') reason = packet.reasonCode; });
  await c.publishAsync(`${prefix}/nobody`, 'x', { qos: 1 });
  assert.equal(reason, 0x10);
}));

check('the second of a name ends the first, and says why', () => withClients([{ ...v5, clientId: 'mqttjs-twice' }], async (first) => {
  let reason;
  first.on('disconnect', (packet) => { reason = packet.reasonCode; });
  await withClients([{ ...v5, clientId: 'mqttjs-twice' }], () => eventually(() => reason === 0x8e));
}));

check('unsubscribe, and nothing comes any more', () => withClients([v5], async (c) => {
  await c.subscribeAsync(`${prefix}/unsubscribe`, { qos: 1 });
  await c.unsubscribeAsync(`${prefix}/unsubscribe`);
  await c.publishAsync(`${prefix}/unsubscribe`, 'x', { qos: 1 });
  await sleep(200);
  assert.equal(c.came.length, 0);
}));

check('twelve megabytes come as they were sent, over WebSocket', async () => {
  const c = await connect(v5, WS_URL);
  try {
    const body = randomBytes(12 << 20);
    await c.subscribeAsync(`${prefix}/large`, { qos: 1 });
    await c.publishAsync(`${prefix}/large`, body, { qos: 1 });
    assert((await eventually(() => c.came.shift(), 30000)).payload.equals(body));
  } finally {
    await c.endAsync(true);
  }
}, WS_URL);

check('after kill -9 the client connects again by itself; what it published meanwhile comes', async () => {
  const c = await connect({ ...v5, clientId: 'mqttjs-killed', clean: false, properties: { sessionExpiryInterval: 600 }, reconnectPeriod: 100 });
  try {
    await c.subscribeAsync(`${prefix}/killed`, { qos: 2 });
    await c.publishAsync(`${prefix}/killed`, 'before', { qos: 2 });
    assert.equal((await c.next()).text, 'before');
    execFileSync(RESTART);
    await c.publishAsync(`${prefix}/killed`, 'after', { qos: 2 });
    assert.equal((await c.next()).text, 'after');
    await sleep(200);
    assert.equal(c.came.length, 0);
  } finally {
    await c.endAsync(true);
  }
}, RESTART);

run(client);
