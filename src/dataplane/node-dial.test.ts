// An Edge whose Instances run on another machine: all that an Edge does goes through the data port of their Node, and nothing goes past.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import type { RouteTarget } from '../api/dataplane.ts';
import { systemClock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import { silentLog } from '../sys/log.ts';
import { createDataPort } from '../tunnel/data-port.ts';
import type { DataPort, Resolved } from '../tunnel/data-port.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { listenOnLoopback } from '../tunnel/loopback-fixture.ts';
import { call, group, read, rule, startEdge, startInstance, text, until } from '../edge/edge-fixture.ts';
import type { TestEdge, TestInstance } from '../edge/edge-fixture.ts';

const HOST = 'app.localhost';
const authority = makeAuthority();
const [edgeNode, farNode] = [newId(), newId()];
let identity: MachineIdentity | null;
let edge: TestEdge;
let folder: string;
let port: DataPort;
let via: { readonly host: string; readonly port: number };
const instances = new Map<string, Resolved>();
/** Instances that were asked for at the data port. */
const asked: string[] = [];
const cleanups: (() => unknown)[] = [];

before(async () => {
  port = createDataPort({
    identity: () => authority.issueMachine(farNode, ['node']),
    listen: { host: '127.0.0.1', port: 0 },
    resolve: (id, generation) => {
      asked.push(id);
      return generation > 3 ? 'stale_generation' : (instances.get(id) ?? 'unknown_instance');
    },
    mayConnect: (nodeId) => nodeId === edgeNode,
    clock: systemClock,
    log: silentLog,
  });
  via = await port.start();
  folder = await mkdtemp(join(tmpdir(), 'libra-node-dial-'));
  edge = await startEdge({
    accessLog: { file: join(folder, 'access.log'), fileBytes: 1024 * 1024 },
    nodeId: edgeNode,
    identity: () => identity,
    h2c: true,
    limits: { connectTimeoutMs: 1_000 },
  });
});
after(async () => {
  await edge.stop();
  await port.stop();
  for (const cleanup of cleanups) await cleanup();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  identity = authority.issueMachine(edgeNode);
  asked.length = 0;
});

/** On the other machine. Its own port is nothing that this Edge could use. */
function far(id: string, change: Partial<RouteTarget> = {}): RouteTarget {
  return {
    instanceId: id,
    deploymentId: 'd',
    nodeId: farNode,
    host: '127.0.0.1',
    port: 1,
    generation: 1,
    via,
    state: 'active',
    drainUntilMs: null,
    ...change,
  };
}

async function farInstance(id: string, listener: http.RequestListener): Promise<TestInstance> {
  const made = await startInstance(id, listener);
  cleanups.push(() => made.kill());
  instances.set(id, { host: '127.0.0.1', port: made.port });
  return made;
}

const serve = (...targets: RouteTarget[]): Promise<void> => edge.install({ rules: [rule(HOST, 'app')], groups: [group('app', targets)] });

test('requests cross with their bodies, over connections that are kept', async () => {
  await farInstance('body', (request, response) => void read(request).then((body) => response.end(body)));
  await serve(far('body'));
  for (const size of [0, 1, 70_000, 3_000_000]) {
    const body = Buffer.alloc(size, 'x');
    const reply = await call(edge.port, HOST, '/', { method: 'POST', body });
    assert.equal(reply.status, 200);
    assert.ok(reply.body.equals(body), `${size} bytes come back`);
  }
  assert.deepEqual(asked, ['body'], 'one connection did for all');
});

test('a laptop that is connected to another machine greets through the port, and until then the request may go elsewhere', async () => {
  let greeting = 'ok\n';
  const program = http.createServer((_request, response) => {
    // Each request has to ask for the laptop anew.
    response.setHeader('connection', 'close');
    text(response, 'the laptop');
  });
  const laptop = await listenOnLoopback((socket) => {
    socket.write(greeting);
    if (greeting === 'ok\n') program.emit('connection', socket);
    else socket.end();
  });
  cleanups.push(
    () => laptop.end(),
    () => program.closeAllConnections(),
  );
  instances.set('session-1', { host: laptop.host, port: laptop.port });
  await farInstance('deployed', (_request, response) => text(response, 'deployed'));
  const session = { id: 'session-1', key: 'ana', mode: 'replace', hash: 'h', expiresAtMs: Date.now() + 60_000 } as const;
  await edge.install({
    rules: [rule(HOST, 'app')],
    groups: [
      { ...group('app', [far('deployed')]), sessions: [{ ...session, target: { nodeId: farNode, host: '127.0.0.1', port: 1, via } }] },
    ],
  });
  const post = async (): Promise<string> => (await call(edge.port, HOST, '/', { method: 'POST', body: 'x' })).body.toString();
  assert.equal(await post(), 'the laptop');
  greeting = 'no\n';
  assert.equal(await post(), 'deployed');
  instances.delete('session-1');
  assert.equal(await post(), 'deployed');
});

test('a body streams both ways at once', async () => {
  await farInstance('stream', (request, response) => void request.pipe(response));
  await serve(far('stream'));
  const request = http.request({ host: '127.0.0.1', port: edge.port, method: 'POST', headers: { host: HOST }, agent: false });
  request.flushHeaders();
  const answered = once(request, 'response') as Promise<[http.IncomingMessage]>; // what a client gets
  request.write('first');
  const [response] = await answered;
  assert.equal(String((await once(response, 'data'))[0]), 'first');
  request.write('second');
  assert.equal(String((await once(response, 'data'))[0]), 'second');
  request.end();
  await once(response, 'end');
});

test('a WebSocket crosses, and its end', async () => {
  const chat = await farInstance('chat', () => undefined);
  const sockets = new WebSocketServer({ server: chat.server });
  sockets.on('connection', (socket) => socket.on('message', (data: Buffer) => socket.send(`heard ${String(data)}`)));
  await serve(far('chat'));
  const client = new WebSocket(`ws://127.0.0.1:${edge.port}/`, { headers: { host: HOST } });
  await once(client, 'open');
  client.send('hello');
  assert.equal(String((await once(client, 'message'))[0]), 'heard hello');
  client.close(4_000, 'enough');
  const [code] = await once(client, 'close');
  assert.equal(code, 4_000);
  sockets.close();
});

test('h2c crosses with trailers, many exchanges on one connection', async () => {
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(headers[':path']);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  instances.set('grpc', { host: '127.0.0.1', port: address.port });
  const policy = { ...DEFAULT_TRAFFIC, protocol: 'h2c' as const };
  await edge.install({ rules: [rule(HOST, 'app')], groups: [{ ...group('app', [far('grpc')]), policy }] });
  const replies = await Promise.all(Array.from({ length: 50 }, (_, index) => call(edge.port, HOST, `/${index}`)));
  assert.deepEqual(
    replies.map((reply) => [reply.body.toString(), reply.trailers['grpc-status']]),
    replies.map((_, index) => [`/${index}`, '0']),
  );
  assert.equal(asked.length, 1);
});

test('an Instance that takes no connection is left out, its request goes to another one, and it comes back through the port', async () => {
  const gone = await farInstance('gone', () => undefined);
  await gone.kill();
  await farInstance('well', (_request, response) => text(response, 'well'));
  await serve(far('gone'), far('well'));
  for (let times = 0; times < 10; times += 1) {
    const reply = await call(edge.port, HOST, '/', { method: 'POST', body: 'once' });
    assert.equal(reply.body.toString(), 'well');
  }
  const left = asked.filter((id) => id === 'gone').length;
  assert.ok(left >= 1 && left < 5, `it was tried ${left} times, then left out`);
  assert.deepEqual(edge.edge.health().connected, true);
  await until('it is told', () => edge.link.reports.some((report) => report.ejected.includes('gone')));
  await farInstance('gone', (_request, response) => text(response, 'back'));
  await until('it is probed through the port and gets requests again', () => edge.link.reports.at(-1)?.ejected.length === 0, 20_000);
});

test('an Instance that breaks amid its answer does not look whole', async () => {
  await farInstance('breaks', (_request, response) => {
    response.writeHead(200, { connection: 'close' });
    response.write('half', () => response.socket?.resetAndDestroy());
  });
  await serve(far('breaks'));
  await assert.rejects(call(edge.port, HOST, '/'));
});

test('what runs here is dialled here, also where its Node has a data port or an old table does not say where', async () => {
  const here = await startInstance('here', (_request, response) => text(response, 'here'));
  cleanups.push(() => here.kill());
  const { nodeId: _, ...unnamed } = here.target;
  // As a version with one machine only may have kept it.
  for (const target of [{ ...here.target, nodeId: edgeNode, via }, { ...here.target, nodeId: '' }, unnamed as RouteTarget]) {
    await serve(target);
    assert.equal((await call(edge.port, HOST, '/')).body.toString(), 'here');
  }
  assert.deepEqual(asked, []);
});

test('what runs elsewhere is never looked for here', { timeout: 30_000 }, async () => {
  let reached = 0;
  const other = await startInstance('other', (_request, response) => {
    reached += 1;
    text(response, 'somebody else');
  });
  cleanups.push(() => other.kill());
  const target = { ...other.target, nodeId: farNode };
  const refused = async (): Promise<number> => (await call(edge.port, HOST, '/')).status;
  await serve(target);
  assert.equal(await refused(), 502, 'its Node has no data port');
  identity = null;
  await serve({ ...target, instanceId: 'b', via });
  assert.equal(await refused(), 502, 'this machine has no certificate');
  identity = authority.issueMachine(newId());
  await serve({ ...target, instanceId: 'c', via });
  assert.equal(await refused(), 502, 'this machine is not one of the cluster');
  identity = authority.issueMachine(edgeNode);
  await serve({ ...target, instanceId: 'd', via });
  assert.equal(await refused(), 502, 'the Node does not run it');
  instances.set('e', { host: '127.0.0.1', port: other.port });
  await serve({ ...target, instanceId: 'e', via, generation: 4 });
  assert.equal(await refused(), 502, 'the Node has fallen behind');
  assert.equal(reached, 0);
  const reasons = async (): Promise<string[]> =>
    (await readFile(join(folder, 'access.log'), 'utf8'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => String((JSON.parse(line) as { reason?: string }).reason)) // a line of the Edge's
      .slice(-5);
  while (!(await reasons()).at(-1)?.includes('older generation')) await systemClock.sleep(20);
  for (const [index, reason] of [
    /has no data port/u,
    /no certificate of the cluster/u,
    /may not reach Instances/u,
    /no such Instance/u,
  ].entries())
    assert.match((await reasons())[index] ?? '', reason);
  instances.set('f', { host: '127.0.0.1', port: other.port });
  await serve({ ...target, instanceId: 'f', via, generation: 3 });
  assert.equal(await refused(), 200);
});

test('a data port that accepts and says nothing is given up in time', async () => {
  const mute = await listenOnLoopback(() => undefined);
  cleanups.push(() => mute.end());
  await farInstance('alive', (_request, response) => text(response, 'alive'));
  await serve(far('alive'), far('lost', { via: mute }));
  const began = performance.now();
  for (let times = 0; times < 4; times += 1) assert.equal((await call(edge.port, HOST, '/')).body.toString(), 'alive');
  assert.ok(performance.now() - began < 5_000, 'no request waited for longer than one connection may take');
});
