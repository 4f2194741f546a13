// What clients get when Instances, or they themselves, misbehave.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { call, group, read, rule, startEdge, startInstance, text, until } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';

const HOST = 'app.localhost';
let edge: TestEdge;
const cleanups: (() => Promise<void>)[] = [];

before(async () => {
  edge = await startEdge({
    limits: {
      bodyIdleMs: 1_500,
      responseTimeoutMs: 1_500,
      headerTimeoutMs: 1_000,
      openPerTarget: 4,
      headerBytes: 16 * 1024,
      discardBytes: 1024 * 1024,
    },
  });
});
after(async () => {
  await edge.stop();
  for (const cleanup of cleanups) await cleanup();
});

async function instance(listener: http.RequestListener): Promise<TestInstance> {
  const made = await startInstance(`i${cleanups.length}`, listener);
  cleanups.push(() => made.kill());
  return made;
}

function serve(...instances: TestInstance[]): Promise<void> {
  return edge.install({
    rules: [rule(HOST, 'app')],
    groups: [
      group(
        'app',
        instances.map((each) => each.target),
      ),
    ],
  });
}

/** A TCP server that is no HTTP server. */
async function rawInstance(onConnection: (socket: net.Socket) => void): Promise<TestInstance> {
  const stub = await instance(() => undefined);
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => new Promise((resolve) => void server.close(() => resolve())));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { ...stub, target: { ...stub.target, port } };
}

function raw(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(edge.port, '127.0.0.1', () => socket.write(bytes, 'latin1'));
    let answer = '';
    socket.on('data', (chunk) => (answer += String(chunk)));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

async function deadTarget(): Promise<TestInstance> {
  const dead = await instance(() => undefined);
  await dead.close();
  return dead;
}

test('a refused connection is tried on another target, whatever the method, and reported', async () => {
  const alive = await instance(
    (request, response) => void read(request).then((body) => text(response, `${request.method ?? ''} ${body.length}`)),
  );
  const dead = await deadTarget();
  await serve(dead, alive);
  const body = Buffer.alloc(200_000);
  // Which of two comes first is drawn: until the dead one was.
  let retried = false;
  for (let round = 0; round < 4 || !retried; round += 1) {
    assert.ok(round < 100, 'the dead target is never tried');
    const reply = await call(edge.port, HOST, '/', { method: 'POST', body });
    assert.equal(String(reply.body), 'POST 200000');
    retried = /libra_edge_retries_total\{[^}]*\} [1-9]/u.test(edge.edge.metrics());
  }
  assert.match(edge.edge.metrics(), /libra_edge_ejected_targets 1\n/);
  assert.match(edge.edge.metrics(), /libra_edge_retries_total\{[^}]*\} [1-9]/);
});

test('an upgrade that nobody asked for is a broken answer at once', async () => {
  const connections: net.Socket[] = [];
  const switches = await rawInstance((socket) => {
    connections.push(socket);
    socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: odd\r\nconnection: upgrade\r\n\r\n'));
  });
  await serve(switches);
  const startedMs = performance.now();
  const reply = await call(edge.port, HOST, '/');
  assert.equal(reply.status, 502);
  assert.ok(performance.now() - startedMs < 1_000, 'not only at the deadline');
  await until('the connection is given up', () => connections.length > 0 && connections.every((socket) => socket.destroyed));
});

test('where every target refuses, the page says 502, what to look at, and when to come back', async () => {
  await serve(await deadTarget(), await deadTarget());
  const reply = await call(edge.port, HOST, '/');
  assert.equal(reply.status, 502);
  assert.equal(reply.headers['retry-after'], '5');
  assert.match(String(reply.body), /libra ps -a app/);
});

test('a target that dies before its answer costs a GET nothing, and a POST is not sent twice', async () => {
  let hits = 0;
  const dies = await instance((request) => {
    hits += 1;
    request.socket.resetAndDestroy();
  });
  const lives = await instance((_request, response) => text(response, 'ok'));
  await serve(dies, lives);
  for (let round = 0; round < 4; round += 1) assert.equal((await call(edge.port, HOST, '/')).status, 200);
  await serve(dies);
  hits = 0;
  const reply = await call(edge.port, HOST, '/', { method: 'POST', body: 'pay' });
  assert.equal(reply.status, 502);
  assert.equal(hits, 1);
  assert.match(String(reply.body), /libra logs -a app/);
});

test('a PUT whose body is short is repeated whole, a long one is not', async () => {
  let first = true;
  const flaky = await instance((request, response) => {
    void read(request).then((body) => {
      if (first) {
        first = false;
        request.socket.resetAndDestroy();
      } else text(response, String(body.length));
    });
  });
  const other = await instance((request, response) => void read(request).then((body) => text(response, String(body.length))));
  await serve(flaky, other);
  assert.equal(String((await call(edge.port, HOST, '/', { method: 'PUT', body: Buffer.alloc(60_000) })).body), '60000');
  await serve(flaky);
  first = true;
  assert.equal((await call(edge.port, HOST, '/', { method: 'PUT', body: Buffer.alloc(100_000) })).status, 502);
});

test('an idle connection that the target closes in the moment of the next request costs that request nothing', async () => {
  let sockets = 0;
  const server = await rawInstance((socket) => {
    sockets += 1;
    let requests = 0;
    socket.on('data', () => {
      requests += 1;
      // The second request on a connection meets a server that is just closing.
      if (requests > 1) socket.resetAndDestroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  await serve(server);
  for (let round = 0; round < 6; round += 1) assert.equal((await call(edge.port, HOST, '/')).status, 200);
  assert.equal(sockets, 6);
});

test('a server that closes behind each answer, without saying so, costs a POST nothing', async () => {
  const server = await rawInstance((socket) => {
    let asked = '';
    socket.on('data', (chunk: Buffer) => {
      asked += chunk.toString('latin1');
      // To one that closes before the request is whole the rest of it would be sent, which resets the connection with the answer on it.
      if (!asked.endsWith('pay')) return;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      socket.end();
    });
  });
  await serve(server);
  for (let round = 0; round < 100; round += 1) {
    assert.equal((await call(edge.port, HOST, '/', { method: 'POST', body: 'pay' })).status, 200);
  }
});

test('connections to a target are not kept longer than a second', async () => {
  let open = 0;
  const app = await instance((_request, response) => text(response, 'ok'));
  app.server.on('connection', (socket) => {
    open += 1;
    socket.on('close', () => (open -= 1));
  });
  await serve(app);
  await call(edge.port, HOST, '/');
  assert.equal(open, 1);
  await until('it is closed', () => open === 0, 2_500);
});

for (const framing of ['length', 'chunked', 'until-close']) {
  test(`an answer that breaks off (${framing}) resets the client instead of looking whole`, async () => {
    const app = await rawInstance((socket) => {
      socket.once('data', () => {
        const head = { length: 'Content-Length: 1000', chunked: 'Transfer-Encoding: chunked', 'until-close': 'Connection: close' }[framing];
        socket.write(`HTTP/1.1 200 OK\r\n${head ?? ''}\r\n\r\n${framing === 'chunked' ? '4\r\npart\r\n' : 'part'}`);
        setImmediate(() => (framing === 'until-close' ? socket.resetAndDestroy() : socket.end()));
      });
    });
    await serve(app);
    await assert.rejects(call(edge.port, HOST, '/'), { code: 'ECONNRESET' });
    // An HTTP/1.0 client knows no end but that of the connection.
    const old = raw(`GET / HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
    await assert.rejects(old, { code: 'ECONNRESET' });
  });
}

test('an answer that is no HTTP gives 502 and is not taken for a broken connection', async () => {
  let hits = 0;
  const app = await rawInstance((socket) => {
    socket.once('data', () => {
      hits += 1;
      socket.end('SSH-2.0-nothing\r\n');
    });
  });
  await serve(app);
  assert.equal((await call(edge.port, HOST, '/')).status, 502);
  assert.equal(hits, 1);
});

test('a target that never answers gives 504 in time', async () => {
  await serve(await instance(() => undefined));
  assert.equal((await call(edge.port, HOST, '/')).status, 504);
  await until('nothing is open', () => edge.edge.health().open === 0);
});

test('a client that leaves takes its request at the target with it', async () => {
  let aborted = false;
  let started = false;
  const app = await instance((request, response) => {
    started = true;
    response.on('close', () => (aborted = true));
    request.resume();
  });
  await serve(app);
  const request = http.get({ host: '127.0.0.1', port: edge.port, headers: { host: HOST }, agent: false });
  request.on('error', () => undefined);
  await until('it has arrived', () => started);
  request.destroy();
  await until('the target notices', () => aborted);
  await until('nothing is open', () => edge.edge.health().open === 0);
});

test('an answer that comes before the end of the body reaches the client, and the connection goes on', async () => {
  const app = await instance((request, response) => {
    if (request.method === 'GET') return text(response, 'next');
    response.writeHead(413, { 'content-length': '3', connection: 'close' });
    response.end('big');
  });
  await serve(app);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const reply = await call(edge.port, HOST, '/', { method: 'POST', body: Buffer.alloc(500_000), agent });
  assert.equal(reply.status, 413);
  assert.equal(String(reply.body), 'big');
  const next = await call(edge.port, HOST, '/', { agent });
  assert.equal(String(next.body), 'next');
  agent.destroy();
});

test('a page reaches a client that is still sending its body', async () => {
  await edge.install({ rules: [], groups: [] });
  const reply = await call(edge.port, HOST, '/', { method: 'POST', body: Buffer.alloc(900_000) });
  assert.equal(reply.status, 404);
});

test('a body that stops arriving gives 408', async () => {
  const app = await instance((request) => void request.resume());
  await serve(app);
  const answer = await raw(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 10\r\n\r\nhalf`);
  assert.match(answer, /^HTTP\/1\.1 408 /);
});

test('headers that stop arriving, are too large or make no sense are refused, and nothing else notices', async () => {
  await serve(await instance((_request, response) => text(response, 'ok')));
  const cases: [string, RegExp][] = [
    [`GET / HTTP/1.1\r\nHost: ${HOST}\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    [`GET / HTTP/1.1\r\nHost: ${HOST}\r\n`, /^HTTP\/1\.1 408 /],
    ['GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /],
    [`GET / HTTP/1.1\r\nHost: ${HOST}\r\nHost: other\r\nConnection: close\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [`GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: +3\r\n\r\nabc`, /^HTTP\/1\.1 400 /],
    [`POST / HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`, /^HTTP\/1\.1 400 |^$/],
    ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', /^HTTP\/1\.1 400 /],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /^HTTP\/1\.1 (400|505) /],
    ['\0\0\0\0\r\n\r\n', /^HTTP\/1\.1 400 /],
    [`CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`, /^$|^HTTP\/1\.1 4/],
    [`GET example HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`, /^HTTP\/1\.1 400 /],
  ];
  for (const [bytes, expected] of cases) assert.match(await raw(bytes), expected, JSON.stringify(bytes.slice(0, 80)));
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed % below;
  };
  const pieces = [
    'GET ',
    '/',
    ' HTTP/1.1\r\n',
    'Host: ',
    HOST,
    '\r\n',
    '\r\n\r\n',
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    '\0',
    'Upgrade: websocket',
    'Connection: Upgrade',
    '5\r\n',
    '\xff\xfe',
  ];
  await Promise.all(
    Array.from({ length: 200 }, async () => {
      const bytes = Array.from({ length: 2 + random(12) }, () => pieces[random(pieces.length)] ?? '').join('');
      const socket = net.connect(edge.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.end(Buffer.from(bytes, 'latin1'));
      socket.resume();
      await once(socket, 'close');
    }),
  );
  assert.equal((await call(edge.port, HOST, '/')).status, 200);
});

test('a target takes only so many requests at once; beyond that the client is told to come back', async () => {
  const held: http.ServerResponse[] = [];
  await serve(await instance((_request, response) => void held.push(response)));
  const four = Array.from({ length: 4 }, () => call(edge.port, HOST, '/'));
  await until('four are open', () => held.length === 4);
  const fifth = await call(edge.port, HOST, '/');
  assert.equal(fifth.status, 503);
  assert.equal(fifth.headers['retry-after'], '2');
  for (const response of held) text(response, 'ok');
  for (const reply of await Promise.all(four)) assert.equal(reply.status, 200);
});

test('browsers get a page, programs a problem document, others text; none tells about other Apps', async () => {
  await edge.install({ rules: [rule('secret.localhost', 'secret')], groups: [group('secret', [], 'stopped')] });
  const ask = async (host: string, accept: string): Promise<{ status: number; type: string; body: string }> => {
    const reply = await call(edge.port, host, '/<b>', { headers: { accept } });
    return { status: reply.status, type: String(reply.headers['content-type']), body: String(reply.body) };
  };
  const page = await ask('nobody.localhost', 'text/html,*/*;q=0.8');
  assert.equal(page.status, 404);
  assert.match(page.type, /^text\/html/);
  assert.match(page.body, /prefers-color-scheme:dark/);
  assert.match(page.body, /libra routes/);
  const problem = await ask('nobody.localhost', 'application/json');
  assert.equal(problem.type, 'application/problem+json');
  const { code, status, requestId } = JSON.parse(problem.body) as Record<string, unknown>; // the problem document that the Edge writes
  assert.deepEqual([code, status, typeof requestId], ['no_host', 404, 'string']);
  const plain = await ask('nobody.localhost', '*/*');
  assert.match(plain.type, /^text\/plain/);
  for (const reply of [page, problem, plain]) assert.doesNotMatch(reply.body, /secret|<b>/);
  const stopped = await ask('secret.localhost', '*/*');
  assert.equal(stopped.status, 503);
  assert.match(stopped.body, /libra start -a secret/);
});
