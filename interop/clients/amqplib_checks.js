// amqplib (npm) against a broker: its promises, its callbacks, its events. See checks.py for what the environment says.
'use strict';

const { execFileSync } = require('child_process');
const fs = require('fs');
const path = require('path');
const assert = require('assert/strict');
const amqp = require('amqplib');
const callbacks = require('amqplib/callback_api');
const { check, sleep, eventually, run } = require('./checks');
const { version } = JSON.parse(fs.readFileSync(path.join(path.dirname(require.resolve('amqplib')), 'package.json')));

const { AMQP_URL = 'amqp://guest:guest@127.0.0.1:5672/', RESTART, RABBITMQCTL } = process.env;
const baton = (process.env.BROKER || 'baton') === 'baton';
const client = `amqplib ${version}`;

// withChannel gives f a channel of a connection of its own. What closes either is kept, and thrown by nobody.
async function withChannel(f, kind = 'createChannel', options = {}) {
  const conn = await amqp.connect(AMQP_URL, options);
  conn.errors = [];
  conn.on('error', (e) => conn.errors.push(e));
  try {
    const ch = await open(conn, kind);
    await f(ch, conn);
  } finally {
    await conn.close().catch(() => {});
  }
}

async function open(conn, kind = 'createChannel') {
  const ch = await conn[kind]();
  ch.errors = [];
  ch.on('error', (e) => ch.errors.push(e));
  return ch;
}

const fresh = async (ch, options = {}) => (await ch.assertQueue('', { exclusive: true, ...options })).queue;
const take = (ch, queue, options = { noAck: true }) => eventually(() => ch.get(queue, options));

// refused holds that the operation closes its channel with this code and text, and that the connection goes on.
async function refused(ch, conn, code, text, f) {
  await assert.rejects(f, (e) => e.code === code && e.message.includes(text));
  await eventually(() => ch.errors.length);
  assert.equal(ch.errors[0].code, code);
  await (await open(conn)).close();
  assert.deepEqual(conn.errors, []);
}

check('the broker says who it is', () => withChannel(async (_ch, conn) => {
  const { serverProperties } = conn.connection;
  assert.equal(serverProperties.product, 'RabbitMQ');
  assert.match(serverProperties.version, /^[34]\.\d+\.\d+/);
  assert.equal(serverProperties.capabilities.publisher_confirms, true);
}));

check('a wrong password is told as such', async () => {
  await assert.rejects(amqp.connect(AMQP_URL.replace('guest:guest', 'guest:wrong')), /ACCESS_REFUSED|403/);
});

check('a frame_max of 4096, which older versions ask for', async () => {
  const conn = await amqp.connect(`${AMQP_URL}?frameMax=4096&heartbeat=10`);
  assert.equal(conn.connection.frameMax, 4096);
  const ch = await conn.createChannel();
  const queue = await fresh(ch);
  const body = Buffer.alloc(100000, 'x');
  ch.sendToQueue(queue, body);
  assert(body.equals((await take(ch, queue)).content));
  await conn.close();
});

check('queues: asserted, checked, counted, purged, deleted', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  assert.match(queue, /^amq\.gen-/);
  ch.sendToQueue(queue, Buffer.from('x'));
  await eventually(async () => (await ch.checkQueue(queue)).messageCount === 1);
  assert.equal((await ch.purgeQueue(queue)).messageCount, 1);
  assert.equal((await ch.deleteQueue(queue)).messageCount, 0);
}));

check('what is not there is 404, what differs is 406', async () => {
  await withChannel((ch, conn) => refused(ch, conn, 404, "NOT_FOUND - no queue 'js.none' in vhost '/'", () => ch.checkQueue('js.none')));
  await withChannel((ch, conn) => refused(ch, conn, 404, "NOT_FOUND - no exchange 'js.none'", () => ch.checkExchange('js.none')));
  await withChannel((ch, conn) => refused(ch, conn, 406, "inequivalent arg 'type' for exchange 'js.kind'", async () => {
    await ch.assertExchange('js.kind', 'topic', { autoDelete: true });
    await ch.assertExchange('js.kind', 'fanout', { autoDelete: true });
  }));
  await withChannel((ch) => ch.deleteExchange('js.kind'));
});

check('exchanges of every type, bound, and unbound', () => withChannel(async (ch) => {
  const rows = [
    ['direct', 'k', {}, 'k', {}], ['fanout', '', {}, 'any', {}], ['topic', '*.b.#', {}, 'a.b.c', {}],
    ['headers', '', { 'x-match': 'all', n: 1 }, '', { n: 1, m: 2 }],
  ];
  for (const [kind, key, args, routingKey, headers] of rows) {
    const { exchange } = await ch.assertExchange(`js.${kind}`, kind, { autoDelete: true });
    const queue = await fresh(ch);
    await ch.bindQueue(queue, exchange, key, args);
    ch.publish(exchange, routingKey, Buffer.from(kind), { headers });
    assert.equal((await take(ch, queue)).content.toString(), kind);
    await ch.unbindQueue(queue, exchange, key, args);
    await ch.deleteExchange(exchange);
  }
}));

check('exchanges bound to exchanges', () => withChannel(async (ch) => {
  await ch.assertExchange('js.a', 'topic');
  await ch.assertExchange('js.b', 'fanout');
  await ch.bindExchange('js.b', 'js.a', 'x.*');
  const queue = await fresh(ch);
  await ch.bindQueue(queue, 'js.b', '');
  ch.publish('js.a', 'x.y', Buffer.from('through'));
  assert.equal((await take(ch, queue)).content.toString(), 'through');
  await ch.unbindExchange('js.b', 'js.a', 'x.*');
  await ch.deleteExchange('js.a');
  await ch.deleteExchange('js.b');
}));

check('every property and every type of a header', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  const headers = {
    text: 'ü', yes: true, no: false, int: 7, negative: -40000, big: 2 ** 40, float: 0.5, nothing: null, bytes: Buffer.from([0, 255]),
    list: [1, 'two', [true]], table: { deep: { deeper: 1 } }, time: { '!': 'timestamp', value: 1234567890 },
    decimal: { '!': 'decimal', value: { digits: 314, places: 2 } }, single: { '!': 'float', value: 0.25 },
  };
  const options = {
    headers, contentType: 't/x', contentEncoding: 'e', persistent: true, priority: 4, correlationId: 'c', replyTo: 'r', expiration: '90000',
    messageId: 'm', timestamp: 1234567890, type: 'ty', userId: 'guest', appId: 'a',
  };
  ch.sendToQueue(queue, Buffer.from('x'), options);
  const { properties } = await take(ch, queue);
  for (const [name, value] of Object.entries({ ...options, persistent: undefined, deliveryMode: 2 })) {
    if (name !== 'persistent' && name !== 'headers') assert.deepEqual(properties[name], value, name);
  }
  for (const [name, value] of Object.entries(headers)) {
    const got = properties.headers[name];
    assert.deepEqual(got, value !== null && value['!'] === 'float' ? 0.25 : value, name);
  }
}));

check('confirms: every publish is confirmed, waitForConfirms waits for all', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  let confirmed = 0;
  for (let i = 0; i < 500; i++) ch.sendToQueue(queue, Buffer.from(`${i}`), { persistent: true }, (e) => { assert.equal(e, null); confirmed++; });
  await ch.waitForConfirms();
  assert.equal(confirmed, 500);
  assert.equal((await ch.checkQueue(queue)).messageCount, 500);
}, 'createConfirmChannel'));

check('confirms: what a full queue rejects is nacked', () => withChannel(async (ch) => {
  const queue = await fresh(ch, { maxLength: 1, arguments: { 'x-overflow': 'reject-publish' } });
  ch.sendToQueue(queue, Buffer.from('1'));
  await ch.waitForConfirms();
  ch.sendToQueue(queue, Buffer.from('2'));
  await assert.rejects(() => ch.waitForConfirms(), /nacked/);
}, 'createConfirmChannel'));

check('a mandatory message comes back before its confirm', () => withChannel(async (ch) => {
  const seen = [];
  ch.on('return', (m) => seen.push(`${m.fields.replyCode} ${m.fields.replyText} ${m.content}`));
  ch.publish('amq.direct', 'nowhere', Buffer.from('x'), { mandatory: true }, () => seen.push('confirmed'));
  await ch.waitForConfirms();
  assert.deepEqual(seen, ['312 NO_ROUTE x', 'confirmed']);
}, 'createConfirmChannel'));

check('consume: prefetch, ack, nack, reject, ackAll, nackAll', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  const got = [];
  await ch.prefetch(3);
  await ch.consume(queue, (m) => got.push(m));
  for (let i = 0; i < 9; i++) ch.sendToQueue(queue, Buffer.from(`${i}`));
  await eventually(() => got.length === 3);
  ch.nack(got[2]); // back to its place
  await eventually(() => got.length === 4);
  assert.deepEqual([got[3].content.toString(), got[3].fields.redelivered], ['2', true]);
  ch.ack(got[1], true);
  ch.reject(got[3], false);
  await eventually(() => got.length === 7);
  ch.ackAll();
  await eventually(() => got.length === 10);
  ch.nackAll(false);
  await eventually(async () => (await ch.checkQueue(queue)).messageCount === 0);
  assert.deepEqual(got.map((m) => m.content.toString()), ['0', '1', '2', '2', '3', '4', '5', '6', '7', '8']);
}));

check('consume: by several consumers, one after another', () => withChannel(async (ch, conn) => {
  const queue = await fresh(ch);
  const counts = [0, 0];
  for (const i of [0, 1]) {
    const c = await open(conn);
    await c.prefetch(1);
    await c.consume(queue, (m) => { counts[i]++; c.ack(m); });
  }
  for (let i = 0; i < 100; i++) ch.sendToQueue(queue, Buffer.from('x'));
  await eventually(() => counts[0] + counts[1] === 100);
  assert(Math.min(...counts) > 10, `${counts}`);
}));

check('a consumer that is cancelled, by itself and by the broker', () => withChannel(async (ch) => {
  const { queue } = await ch.assertQueue('', { autoDelete: true });
  const got = [];
  const { consumerTag } = await ch.consume(queue, (m) => got.push(m), { noAck: true });
  await ch.consume(queue, (m) => got.push(m), { noAck: true });
  await ch.cancel(consumerTag);
  await ch.deleteQueue(queue);
  await eventually(() => got.length);
  assert.deepEqual(got, [null]);
}));

check('an exclusive consumer, a priority, a tag of its own', () => withChannel(async (ch, conn) => {
  const queue = await fresh(ch);
  const low = [], high = [];
  await ch.consume(queue, (m) => low.push(m), { noAck: true, priority: -1 });
  await ch.consume(queue, (m) => high.push(m), { noAck: true, priority: 5, consumerTag: 'mine' });
  ch.sendToQueue(queue, Buffer.from('x'));
  await eventually(() => low.length + high.length);
  assert.deepEqual([low.length, high[0].fields.consumerTag], [0, 'mine']);
  const other = await open(conn);
  await refused(other, conn, 403, 'in exclusive use', () => other.consume(queue, () => {}, { exclusive: true }));
}));

check('recover: what is not acknowledged comes again', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  ch.sendToQueue(queue, Buffer.from('x'));
  await take(ch, queue, {});
  await ch.recover();
  assert.equal((await take(ch, queue)).fields.redelivered, true);
}));

check('options of queues: TTLs, lengths, dead letters, priorities', () => withChannel(async (ch) => {
  const dead = await fresh(ch);
  const letters = { deadLetterExchange: '', deadLetterRoutingKey: dead };
  for (const [reason, options, sent] of [
    ['expired', { messageTtl: 50 }, 1], ['expired', {}, 1], ['maxlen', { maxLength: 1 }, 2], ['rejected', {}, 1],
  ]) {
    const queue = await fresh(ch, { ...letters, ...options });
    for (let i = 0; i < sent; i++) ch.sendToQueue(queue, Buffer.from(reason), reason === 'expired' ? { expiration: 50 } : {});
    if (reason === 'rejected') ch.nack(await take(ch, queue, {}), false, false);
    const { properties } = await take(ch, dead);
    assert.equal(properties.headers['x-death'][0].reason, reason);
    assert.equal(properties.headers['x-death'][0].queue, queue);
  }
  const queue = await fresh(ch, { maxPriority: 5, expires: 60000 });
  for (const priority of [0, 5, 3]) ch.sendToQueue(queue, Buffer.from(`${priority}`), { priority });
  await eventually(async () => (await ch.checkQueue(queue)).messageCount === 3);
  const order = [];
  for (let i = 0; i < 3; i++) order.push((await take(ch, queue)).content.toString());
  assert.deepEqual(order, ['5', '3', '0']);
}));

check('CC and BCC', () => withChannel(async (ch) => {
  const [to, cc, bcc] = [await fresh(ch), await fresh(ch), await fresh(ch)];
  ch.sendToQueue(to, Buffer.from('x'), { CC: [cc], BCC: [bcc] });
  for (const queue of [to, cc, bcc]) {
    const { headers } = (await take(ch, queue)).properties;
    assert.deepEqual([headers.CC, headers.BCC], [[cc], undefined]);
  }
}));

check('direct reply-to', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  const got = [];
  await ch.consume('amq.rabbitmq.reply-to', (m) => got.push(m), { noAck: true });
  ch.sendToQueue(queue, Buffer.from('ping'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: 'c' });
  const { properties } = await take(ch, queue);
  assert.match(properties.replyTo, /^amq\.rabbitmq\.reply-to\./);
  ch.sendToQueue(properties.replyTo, Buffer.from('pong'), { correlationId: properties.correlationId });
  await eventually(() => got.length);
  assert.deepEqual([got[0].content.toString(), got[0].properties.correlationId], ['pong', 'c']);
}));

check('a body of 12 MB, and of none', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  for (const body of [Buffer.alloc(12 << 20, 'body'), Buffer.alloc(0)]) {
    ch.sendToQueue(queue, body);
    assert(body.equals((await take(ch, queue)).content));
  }
}));

check('a writer that is faster than the broker hears drain', () => withChannel(async (ch) => {
  const queue = await fresh(ch);
  const body = Buffer.alloc(64 << 10);
  let n = 0;
  while (ch.sendToQueue(queue, body)) n++;
  await new Promise((done) => { ch.once('drain', done); });
  await eventually(async () => (await ch.checkQueue(queue)).messageCount === n + 1);
}));

check('the callback API', () => new Promise((done, fail) => {
  callbacks.connect(AMQP_URL, (err, conn) => {
    if (err) { fail(err); return; }
    conn.createConfirmChannel((e1, ch) => ch.assertQueue('', { exclusive: true }, (e2, { queue }) => {
      ch.consume(queue, (m) => { ch.ack(m); conn.close(() => done(e1 || e2)); });
      ch.sendToQueue(queue, Buffer.from('x'), {}, (e3) => { if (e3) fail(e3); });
    }));
  });
}));

check('two thousand channels one after the other, two hundred at once', () => withChannel(async (_ch, conn) => {
  for (let i = 0; i < 2000; i++) await (await conn.createChannel()).close();
  const channels = await Promise.all(Array.from({ length: 200 }, () => conn.createChannel()));
  const queues = await Promise.all(channels.map((ch) => fresh(ch)));
  channels.forEach((ch, i) => ch.sendToQueue(queues[i], Buffer.from(queues[i])));
  for (const [i, ch] of channels.entries()) assert.equal((await take(ch, queues[i])).content.toString(), queues[i]);
}));

check('new credentials are accepted', () => withChannel((_ch, conn) => conn.updateSecret(Buffer.from('guest'), 'routine')));

check('heartbeats keep an idle connection', () => withChannel(async (ch) => {
  await sleep(3500);
  await fresh(ch);
}, 'createChannel', { heartbeat: 1 }));

check('blocked and unblocked are heard', () => withChannel(async (ch, conn) => {
  const heard = [];
  conn.on('blocked', (reason) => heard.push(reason));
  conn.on('unblocked', () => heard.push('on'));
  const queue = await fresh(ch);
  execFileSync(RABBITMQCTL, ['-q', 'set_vm_memory_high_watermark', '0.00000001']);
  try {
    ch.sendToQueue(queue, Buffer.from('x'));
    await eventually(() => heard.length);
  } finally {
    execFileSync(RABBITMQCTL, ['-q', 'set_vm_memory_high_watermark', '0.6']);
  }
  await eventually(() => heard.length === 2);
  assert.deepEqual(heard, ['low on memory', 'on']);
}), RABBITMQCTL);

check('a delayed message', () => withChannel(async (ch) => {
  await ch.assertExchange('js.delayed', 'x-delayed-message', { autoDelete: true, arguments: { 'x-delayed-type': 'fanout' } });
  const queue = await fresh(ch);
  await ch.bindQueue(queue, 'js.delayed', '');
  const sent = Date.now();
  ch.publish('js.delayed', '', Buffer.from('x'), { headers: { 'x-delay': 300 } });
  await take(ch, queue);
  assert(Date.now() - sent >= 300);
}), baton);

check('after kill -9: the connection ends with an error, and what was confirmed is there', async () => {
  const conn = await amqp.connect(AMQP_URL);
  const closed = new Promise((done) => { conn.on('close', done); });
  conn.on('error', () => {});
  const ch = await open(conn, 'createConfirmChannel');
  await ch.assertQueue('js.kept', { durable: true });
  await ch.purgeQueue('js.kept');
  for (let i = 0; i < 100; i++) ch.sendToQueue('js.kept', Buffer.from(`${i}`), { persistent: true });
  await ch.waitForConfirms();
  execFileSync(RESTART, { stdio: 'ignore' });
  await closed;
  await withChannel(async (again) => {
    for (let i = 0; i < 100; i++) assert.equal((await take(again, 'js.kept')).content.toString(), `${i}`);
    await again.deleteQueue('js.kept');
  });
}, RESTART);

run(client);
