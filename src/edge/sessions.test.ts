// A laptop as the Edge sees it: a port of this machine that greets, and the gateway that laptops come to.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { RequestListener } from 'node:http';
import net from 'node:net';
import { afterEach, test } from 'node:test';
import type { RouteGroup, RouteSession } from '../api/dataplane.ts';
import { systemClock } from '../lib/clock.ts';
import { joinSocket } from '../tunnel/mux-join.ts';
import { createMux } from '../tunnel/mux.ts';
import type { Mux } from '../tunnel/mux.ts';
import { call, group, rule, startEdge, startInstance, text, until } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Laptop {
  readonly port: number;
  readonly seen: string[];
}

/** As the gateway's port of a laptop is: it greets, and then the program behind it speaks. */
async function startLaptop(answer: RequestListener, greeting = 'ok\n'): Promise<Laptop> {
  const seen: string[] = [];
  const program = http.createServer((request, response) => {
    seen.push(`${request.method ?? ''} ${request.url ?? ''}`);
    answer(request, response);
  });
  const server = net.createServer((socket) => {
    socket.write(greeting);
    if (greeting === 'ok\n') program.emit('connection', socket);
    else socket.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.close();
    program.closeAllConnections();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return { port: address.port, seen };
}

const session = (key: string, port: number | null, change: Partial<RouteSession> = {}): RouteSession => ({
  id: `session-${key}`,
  key,
  mode: 'personal',
  hash: createHash('sha256').update(`libra_dev_${key}`).digest('hex'),
  expiresAtMs: Date.now() + 60_000,
  target: port === null ? null : { nodeId: 'n1', host: '127.0.0.1', port },
  ...change,
});

async function setUp(
  sessions: (instance: TestInstance) => readonly RouteSession[],
  answer?: RequestListener,
): Promise<{ readonly edge: TestEdge; readonly instance: TestInstance; readonly groupOf: (list: readonly RouteSession[]) => RouteGroup }> {
  const instance = await startInstance('deployed', answer ?? ((_request, response) => text(response, 'deployed')));
  const edge = await startEdge();
  closing.push(
    () => instance.kill(),
    () => edge.stop(),
  );
  const groupOf = (list: readonly RouteSession[]): RouteGroup => ({ ...group('g', [instance.target]), sessions: list });
  await edge.install({
    rules: [rule('shop.localhost', 'g'), { ...rule('ana--shop.localhost', 'g'), session: 'ana' }],
    groups: [groupOf(sessions(instance))],
  });
  return { edge, instance, groupOf };
}

const answerOf = async (edge: TestEdge, headers: Readonly<Record<string, string>> = {}, host = 'shop.localhost'): Promise<string> =>
  (await call(edge.port, host, '/', { headers })).body.toString();

test('requests go to the laptop whose key they name, to one that replaces, and else to what is deployed', async () => {
  const ana = await startLaptop((_request, response) => text(response, 'ana'));
  const bob = await startLaptop((_request, response) => text(response, 'bob'));
  const { edge, groupOf } = await setUp(() => [session('ana', ana.port)]);
  assert.deepEqual(
    [await answerOf(edge), await answerOf(edge, { 'x-libra-session': 'ana' }), await answerOf(edge, {}, 'ana--shop.localhost')],
    ['deployed', 'ana', 'ana'],
  );
  await edge.put(groupOf([session('ana', ana.port), session('bob', bob.port, { mode: 'replace' })]));
  assert.deepEqual([await answerOf(edge), await answerOf(edge, { cookie: 'libra-session=ana' })], ['bob', 'ana']);
  await edge.put(groupOf([session('ana', ana.port, { expiresAtMs: Date.now() - 1 })]));
  assert.equal(await answerOf(edge, { 'x-libra-session': 'ana' }), 'deployed', 'its time is over');
});

test('what the laptop says is never kept by anybody, and what is deployed says what it says', async () => {
  const cached: RequestListener = (_request, response) => {
    response.setHeader('cache-control', 'public, max-age=600');
    text(response, 'x');
  };
  const ana = await startLaptop(cached);
  const { edge } = await setUp(() => [session('ana', ana.port)], cached);
  const [there, here] = [await call(edge.port, 'shop.localhost', '/'), await call(edge.port, 'ana--shop.localhost', '/')];
  assert.deepEqual([there.headers['cache-control'], here.headers['cache-control']], ['public, max-age=600', 'no-store']);
});

test('a laptop that is gone, or whose program is, leaves any request to what is deployed; one that broke amid one leaves safe ones', async () => {
  const gone = await startLaptop(() => undefined);
  const { edge, groupOf } = await setUp(() => [session('ana', null)]);
  const post = async (): Promise<readonly [number, string]> => {
    const reply = await call(edge.port, 'ana--shop.localhost', '/', { method: 'POST', body: 'x' });
    return [reply.status, reply.body.toString()];
  };
  assert.deepEqual(await post(), [200, 'deployed'], 'not connected');
  await edge.put(groupOf([session('ana', 1)]));
  assert.deepEqual(await post(), [200, 'deployed'], 'refused');
  const silent = await startLaptop(() => undefined, 'no\n');
  await edge.put(groupOf([session('ana', silent.port)]));
  assert.deepEqual(await post(), [200, 'deployed'], 'its program takes no connection');
  const broken = await startLaptop((request) => request.socket.destroy());
  await edge.put(groupOf([session('ana', broken.port)]));
  assert.equal(await answerOf(edge, {}, 'ana--shop.localhost'), 'deployed');
  const [status] = await post();
  assert.deepEqual([status, broken.seen], [502, ['GET /', 'POST /']]);
  assert.deepEqual(gone.seen, []);
  // However often it failed: the next request is its again.
  const back = await startLaptop((_request, response) => text(response, 'back'));
  for (let times = 0; times < 20; times += 1) await answerOf(edge, {}, 'ana--shop.localhost');
  await edge.put(groupOf([session('ana', back.port)]));
  assert.equal(await answerOf(edge, {}, 'ana--shop.localhost'), 'back');
  const wrong = await startLaptop((_request, response) => text(response, 'mistake', 500));
  await edge.put(groupOf([session('ana', wrong.port)]));
  for (let times = 0; times < 20; times += 1) assert.equal(await answerOf(edge, {}, 'ana--shop.localhost'), 'mistake');
});

/** Asks an Edge for a session; null where it is refused, with what it says. */
async function connectLaptop(
  port: number,
  credential: string,
  program: number,
): Promise<{ readonly mux: Mux | null; readonly said: string; readonly closed: Promise<string | null>; readonly goneAway: string[] }> {
  const socket = net.connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined);
  socket.write(
    `GET /_libra/dev HTTP/1.1\r\nHost: libra.localhost\r\nConnection: Upgrade\r\nUpgrade: libra-dev\r\nAuthorization: Bearer ${credential}\r\n\r\n`,
  );
  const [head] = (await once(socket, 'data')) as [Buffer];
  const said = head.toString().split('\r\n', 1)[0] ?? '';
  const goneAway: string[] = [];
  if (!said.includes('101')) {
    socket.destroy();
    return { mux: null, said, closed: Promise.resolve(null), goneAway };
  }
  const over = Promise.withResolvers<string | null>();
  const mux = createMux({
    odd: true,
    clock: systemClock,
    carrier: { write: (bytes) => socket.write(bytes), close: () => socket.destroy() },
    onOpen: (stream) => {
      const to = net.connect({ host: '127.0.0.1', port: program, allowHalfOpen: true });
      to.once('connect', () => stream.write(Buffer.from('ok\n')));
      return joinSocket(stream, to, systemClock);
    },
    onGoAway: (why) => goneAway.push(why),
    onClosed: (why) => over.resolve(why),
  });
  socket.on('data', (bytes: Buffer) => mux.push(bytes));
  socket.on('drain', () => mux.drained());
  socket.on('close', () => mux.lost('closed'));
  closing.push(() => mux.close());
  return { mux, said, closed: over.promise, goneAway };
}

test('a laptop that shows its credential is reported with its port, until it is gone or its session is', async () => {
  const program = await startInstance('program', (_request, response) => text(response, 'the program'));
  closing.push(() => program.kill());
  const { edge, groupOf } = await setUp(() => [session('ana', null), session('bob', null)]);
  const latest = (): readonly string[] => edge.link.reports.at(-1)?.sessions?.map(({ id }) => id) ?? [];
  const portOf = (id: string): number => edge.link.reports.at(-1)?.sessions?.find((one) => one.id === id)?.port ?? 0;
  for (const credential of ['libra_dev_nobody', 'x', 'libra_dev_ana x'])
    assert.match((await connectLaptop(edge.port, credential, program.port)).said, /^HTTP\/1\.1 401 /u);
  const ana = await connectLaptop(edge.port, 'libra_dev_ana', program.port);
  await until('it is reported', () => latest().includes('session-ana'));
  await edge.put(groupOf([session('ana', portOf('session-ana')), session('bob', null)]));
  assert.equal(await answerOf(edge, {}, 'ana--shop.localhost'), 'the program');
  // It connects anew, as from another network: the newer connection counts.
  const first = portOf('session-ana');
  const again = await connectLaptop(edge.port, 'libra_dev_ana', program.port);
  assert.equal(await ana.closed, 'closed');
  assert.deepEqual(ana.goneAway, ['the session has connected anew']);
  await until('the new port is reported', () => portOf('session-ana') !== first && portOf('session-ana') !== 0);
  // Somebody ends the session.
  await edge.put(groupOf([session('bob', null)]));
  await again.closed;
  assert.deepEqual(again.goneAway, ['the session has ended']);
  await until('it is not reported any more', () => latest().length === 0);
  assert.match((await connectLaptop(edge.port, 'libra_dev_ana', program.port)).said, /^HTTP\/1\.1 401 /u);
  const bob = await connectLaptop(edge.port, 'libra_dev_bob', program.port);
  await until('bob is reported', () => latest().includes('session-bob'));
  bob.mux?.close();
  await until('he is gone', () => latest().length === 0);
});
