import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { WebSocket } from 'ws';
import { createClient, socketUrl } from '../api/client.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { DOWNLOAD, itemsTable, startFixture } from './server-fixture.ts';

const root = { authorization: 'Bearer root' };

async function get(url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const request = httpRequest(url, { headers: { ...root, ...headers }, agent: false });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage]; // node:http's event
  return response;
}

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += Buffer.from(chunk).toString();
  return text;
}

const numbers = async (items: AsyncIterable<{ readonly n: number }>): Promise<readonly number[]> => {
  const got: number[] = [];
  for await (const { n } of items) got.push(n);
  return got;
};

test('a stream that is done says so', async () => {
  const { server, url } = await startFixture();
  const response = await get(`${url}/v1/items/a/events`);
  assert.equal(response.headers['content-type'], 'text/event-stream');
  assert.equal(await textOf(response), 'id: 1\ndata: {"n":1}\n\nevent: end\ndata: {}\n\n');
  await server.stop();
});

test('a connection that was opened ahead of need does not hold up the end', { timeout: 5000 }, async () => {
  const { server, url } = await startFixture();
  const unused = connect(Number(new URL(url).port), '127.0.0.1');
  await once(unused, 'connect');
  // An answer on a later connection: by then the server has seen the first.
  await textOf(await get(`${url}/v1/items/a/events`));
  const closed = once(unused.resume(), 'close');
  await server.stop();
  await closed;
});

test('what a stream refuses at once is a plain problem', async () => {
  const { server, url, state } = await startFixture();
  // oxlint-disable-next-line require-yield -- it fails before its first item
  state.follow = async function* () {
    throw new Failure('not_found', { message: 'no such stream' });
  };
  const response = await get(`${url}/v1/items/a/events`);
  assert.deepEqual([response.statusCode, response.headers['content-type']], [404, 'application/problem+json']);
  await server.stop();
});

test('a failure in the middle reaches the client as the same Failure', async () => {
  const { server, client, state } = await startFixture();
  state.follow = async function* () {
    yield { id: '1', data: { n: 1 } };
    throw new Failure('compacted', { message: 'too old' });
  };
  const got: number[] = [];
  await assert.rejects(
    async () => {
      for await (const { n } of client.items.follow({ params: { item: 'a' } })) got.push(n);
    },
    (error) => isFailure(error, 'compacted'),
  );
  assert.deepEqual(got, [1]);
  await server.stop();
});

test('a long stream leaves nothing behind while it is open', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void; // what the flag puts there
  const { server, client, state } = await startFixture();
  state.follow = async function* () {
    for (let n = 1; ; n += 1) yield { id: String(n), data: { n } };
  };
  const [from, step, rounds] = [2_000, 6_000, 3];
  let before = 0;
  const perItem: number[] = [];
  for await (const { n } of client.items.follow({ params: { item: 'a' } })) {
    if (n < from || (n - from) % step !== 0) continue;
    collectGarbage();
    const bytes = process.memoryUsage().heapUsed;
    if (n > from) perItem.push((bytes - before) / step);
    before = bytes;
    if (perItem.length === rounds) break;
  }
  await server.stop();
  // What is on its way at one moment and not at another moves a round; what stays behind stays in every one.
  assert.ok(Math.min(...perItem) < 100, `${perItem.join(', ')} bytes stay behind for each item`);
});

test('over a restart of the server a stream loses nothing and repeats nothing', async () => {
  const first = await startFixture();
  const from = (lastEventId: string | null): number => Number(lastEventId ?? 0) + 1;
  first.state.follow = async function* ({ lastEventId, signal }) {
    for (let n = from(lastEventId); n <= 3; n += 1) yield { id: String(n), data: { n } };
    await once(signal, 'abort');
  };
  const got: number[] = [];
  let reconnects = 0;
  let second: Awaited<ReturnType<typeof startFixture>> | null = null;
  const client = createClient(itemsTable, {
    url: first.url,
    token: 'root',
    fetch: (url, init) => fetch(second === null ? url : url.replace(first.url, second.url), init),
  });
  for await (const { n } of client.items.follow({ params: { item: 'a' }, onReconnect: () => (reconnects += 1) })) {
    got.push(n);
    if (n !== 3) continue;
    second = await startFixture();
    second.state.follow = async function* ({ lastEventId }) {
      for (let next = from(lastEventId); next <= 6; next += 1) yield { id: String(next), data: { n: next } };
    };
    await first.server.stop();
  }
  assert.deepEqual(got, [1, 2, 3, 4, 5, 6]);
  assert.ok(reconnects >= 1);
  await second?.server.stop();
});

test('a silent stream is kept alive by heartbeats', async () => {
  const { server, url, state } = await startFixture({ limits: { heartbeatMs: 20 } });
  state.follow = async function* ({ signal }) {
    await once(signal, 'abort');
    yield { id: null, data: { n: 0 } };
  };
  const response = await get(`${url}/v1/items/a/events`);
  let beats = 0;
  for await (const chunk of response) {
    beats += String(chunk).split(': alive').length - 1;
    if (beats >= 3) break;
  }
  assert.ok(beats >= 3);
  await server.stop();
});

test('a reader that does not read is cut off, and no more than it can hold is produced', async () => {
  const { server, port, state } = await startFixture({ limits: { slowReaderMs: 100 } });
  let produced = 0;
  let ended = (): void => undefined;
  const over = new Promise<void>((resolve) => {
    ended = resolve;
  });
  state.follow = async function* ({ signal }) {
    signal.addEventListener('abort', () => ended());
    const text = 'x'.repeat(100_000);
    for (;;) {
      produced += 1;
      yield { id: null, data: { n: 1, text } };
    }
  };
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET /v1/items/a/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer root\r\n\r\n');
  socket.pause();
  await over;
  assert.ok(produced < 500, `${produced} events of 100 kB were made for a reader that takes none`);
  socket.destroy();
  await server.stop();
});

test('the handler of a stream learns when its reader has gone', async () => {
  const { server, client, state } = await startFixture();
  const gone = new Promise<void>((resolve) => {
    state.follow = async function* ({ signal }) {
      signal.addEventListener('abort', () => resolve());
      yield { id: '1', data: { n: 1 } };
      await once(signal, 'abort');
    };
  });
  for await (const { n } of client.items.follow({ params: { item: 'a' } })) {
    assert.equal(n, 1);
    break;
  }
  await gone;
  await server.stop();
});

test('more streams than allowed are refused, and room is made when one ends', async () => {
  const { server, url, state } = await startFixture({ limits: { streams: 1 } });
  const plain = state.follow;
  state.follow = async function* ({ signal }) {
    yield { id: '1', data: { n: 1 } };
    await once(signal, 'abort');
  };
  const first = await get(`${url}/v1/items/a/events`);
  const second = await get(`${url}/v1/items/a/events`);
  assert.equal(second.statusCode, 429);
  second.resume();
  state.follow = plain;
  first.destroy();
  // The client takes rate_limited as a reason to come again.
  assert.deepEqual(
    await numbers(createClient(itemsTable, { url, token: 'root', attempts: 20 }).items.follow({ params: { item: 'a' } })),
    [1],
  );
  await server.stop();
});

test('an upload is streamed, far beyond any limit of a JSON body', async () => {
  const { server, client } = await startFixture();
  const chunk = new Uint8Array(256 * 1024).fill(7);
  const reply = await client.bytes.upload({
    params: { item: 'a' },
    body: (async function* () {
      for (let n = 0; n < 40; n += 1) yield chunk;
    })(),
  });
  assert.deepEqual(reply, { size: 40 * chunk.length });
  assert.deepEqual(await client.bytes.upload({ params: { item: 'a' }, body: new Uint8Array(0) }), { size: 0 });
  await server.stop();
});

test('an upload that is refused early gets its reason', async () => {
  const { server, client } = await startFixture();
  await assert.rejects(client.bytes.upload({ params: { item: 'refused' }, body: new Uint8Array(4 * 1024 * 1024) }), (error) =>
    isFailure(error, 'too_large'),
  );
  await server.stop();
});

test('a download honours a single range and refuses one behind the end', async () => {
  const { server, client, url } = await startFixture();
  const all = await client.bytes.download({ params: { item: 'a' } });
  assert.deepEqual([all.status, all.sizeBytes, await textOf(all.body)], [200, 10, DOWNLOAD.toString()]);
  const part = await client.bytes.download({ params: { item: 'a' }, range: { start: 3, end: 5 } });
  assert.deepEqual([part.status, part.sizeBytes, await textOf(part.body)], [206, 3, '345']);
  const tail = await get(`${url}/v1/bytes/a`, { range: 'bytes=8-' });
  assert.deepEqual([tail.headers['content-range'], await textOf(tail)], ['bytes 8-9/10', '89']);
  const beyond = await get(`${url}/v1/bytes/a`, { range: 'bytes=10-' });
  assert.deepEqual([beyond.statusCode, beyond.headers['content-range']], [416, 'bytes */10']);
  beyond.resume();
  const ignored = await get(`${url}/v1/bytes/a`, { range: 'bytes=0-1,3-4' });
  assert.equal(ignored.statusCode, 200);
  ignored.resume();
  await server.stop();
});

test('a socket carries frames both ways', async () => {
  const { server, url, audits } = await startFixture();
  const socket = new WebSocket(socketUrl(url, itemsTable.items.socket, { params: { item: 'a' }, query: { mark: 'x' } }), { headers: root });
  await once(socket, 'open');
  socket.send('hello');
  const [data] = (await once(socket, 'message')) as [Buffer]; // ws's event
  assert.equal(data.toString(), 'hello');
  socket.close();
  await once(socket, 'close');
  await server.stop();
  assert.deepEqual(
    audits.map(({ endpoint, status, code }) => [endpoint, status, code]),
    [['items.socket', 101, null]],
  );
});

test('what is refused before an upgrade is a plain problem', async () => {
  const { server, url } = await startFixture();
  const refusal = async (path: string, headers: Record<string, string>): Promise<number> => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, { headers });
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]; // ws's event
    const problem = JSON.parse(await textOf(response)) as { status: number }; // a problem document
    assert.equal(problem.status, response.statusCode);
    return problem.status;
  };
  assert.equal(await refusal('/v1/items/a/socket', {}), 401);
  assert.equal(await refusal('/v1/items/a/socket', { authorization: 'Bearer reader' }), 403);
  assert.equal(await refusal('/v1/items/forbidden/socket', root), 403);
  assert.equal(await refusal('/v1/items/none/socket', root), 404);
  assert.equal(await refusal('/v1/items/a/socket?unknown=1', root), 400);
  assert.equal(await refusal('/v1/items/a/sockets', root), 404);
  assert.equal(await refusal('/v1/items/a/socket', { ...root, origin: 'http://evil.example' }), 403);
  await server.stop();
});

test('stopping tells sockets that the server restarts', async () => {
  const { server, url } = await startFixture();
  const socket = new WebSocket(socketUrl(url, itemsTable.items.socket, { params: { item: 'a' } }), { headers: root });
  await once(socket, 'open');
  const closed = once(socket, 'close');
  await server.stop();
  assert.equal((await closed)[0], 1012);
});

const closing = async (socket: Socket): Promise<string> => {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('error', () => undefined);
  await once(socket, 'close');
  return text;
};

test('headers and bodies that never come do not hold a connection', async () => {
  const { server, port } = await startFixture({ limits: { headersMs: 200, bodyMs: 200 } });
  const headers = connect(port, '127.0.0.1');
  headers.write('GET /v1/items/a HTTP/1.1\r\nhost: localhost\r\nx-slow: ');
  assert.match(await closing(headers), /^HTTP\/1\.1 408 [\s\S]*"code":"timeout"/u);
  const body = connect(port, '127.0.0.1');
  body.write(
    'PUT /v1/items/a HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer root\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{',
  );
  await closing(body);
  const broken = connect(port, '127.0.0.1');
  broken.write('this is not HTTP\r\n\r\n');
  assert.match(await closing(broken), /^HTTP\/1\.1 400 [\s\S]*"code":"invalid_input"/u);
  await server.stop();
});

test('stop waits for open calls, but not for longer than its limit', async () => {
  const { server, client, state } = await startFixture({ limits: { stopMs: 100 } });
  let entered = (): void => undefined;
  const inside = new Promise<void>((resolve) => {
    entered = resolve;
  });
  state.beforeCreate = () => {
    entered();
    return new Promise(() => undefined);
  };
  const call = client.items.create({ body: { name: 'x' } }).catch((error: unknown) => error);
  await inside;
  await server.stop();
  assert.ok(isFailure(await call, 'unreachable'));
});
