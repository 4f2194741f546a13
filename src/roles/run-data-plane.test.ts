// The data plane as a real process on a held listening socket: it is replaced and killed under load.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { EdgeReport, RouteTable } from '../api/dataplane.ts';
import { call, group, read, rule, startInstance, text, until } from '../edge/edge-fixture.ts';
import type { CallOptions, Reply, TestInstance } from '../edge/edge-fixture.ts';
import type { DataPlaneOptions } from './run-data-plane.ts';

const HOST = 'app.localhost';
let folder: string;
let app: TestInstance;
let held: { readonly fd: number; readonly port: number; close(): void };
const children = new Set<ChildProcess>();

/** A bound socket, as the keeper holds one: the first data plane makes it listen, and it does so until this process lets go. */
function hold(): typeof held {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  assert.equal(typeof create, 'function', 'Node no longer has net._createServerHandle: the keeper needs another way');
  const handle = (create as (host: string, port: number, type: number, fd: undefined, flags: number) => TcpHandle)(
    '127.0.0.1',
    0,
    4,
    undefined,
    0,
  ); // private, as notes say
  const address: { port?: number } = {};
  handle.getsockname(address);
  return { fd: handle.fd, port: address.port ?? 0, close: () => handle.close() };
}

interface TcpHandle {
  readonly fd: number;
  getsockname(address: object): number;
  close(): void;
}

interface Control {
  readonly url: string;
  readonly reports: EdgeReport[];
  readonly credentials: Set<string>;
  stop(): Promise<void>;
}

/** As much of control as an Edge sees. */
async function startControl(table: RouteTable): Promise<Control> {
  const reports: EdgeReport[] = [];
  const credentials = new Set<string>();
  const server = http.createServer((request, response) => {
    credentials.add(request.headers.authorization ?? '');
    if (request.url?.startsWith('/v1/dataplane/sync?edge=') === true) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: ${JSON.stringify({ type: 'snapshot', sequence: 1, table })}\n\n`);
      return;
    }
    void read(request).then((body) => {
      reports.push(JSON.parse(String(body)) as EdgeReport); // what the Edge sends
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"accepted":true}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    reports,
    credentials,
    stop: async () => {
      const closed = new Promise((resolve) => void server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function startDataPlane(more: Partial<DataPlaneOptions> = {}): Promise<ChildProcess> {
  const options: DataPlaneOptions = {
    edgeId: 'local',
    version: 'test',
    listen: [{ fd: 3 }],
    connectionFile: join(folder, 'connection.json'),
    tableFile: join(folder, 'table.json'),
    accessLog: { file: join(folder, 'access.log'), fileBytes: 64 * 1024 * 1024 },
    admin: { socketPath: join(folder, 'edge.sock') },
    drainMs: 10_000,
    ...more,
  };
  const program = join(import.meta.dirname, 'run-data-plane-fixture.ts');
  const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit', held.fd] });
  children.add(child);
  child.on('exit', () => children.delete(child));
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
  return child;
}

/** Clients that never stop: new connections and kept ones. A reset of a reused connection is tried again, as HTTP clients do. */
function startLoad(mayBreak: (error: Error & { code?: string }) => boolean): { done(): number; stop(): Promise<string[]> } {
  const failures: string[] = [];
  let done = 0;
  const stopped = new AbortController();
  const agent = new http.Agent({ keepAlive: true });
  const once = async (options: CallOptions): Promise<Reply> => {
    const request: { reused: boolean } = { reused: false };
    try {
      return await call(held.port, HOST, '/', { ...options, onReused: () => (request.reused = true) });
    } catch (error) {
      if (!request.reused) throw error;
      return await call(held.port, HOST, '/', { ...options, agent: false });
    }
  };
  const lane = async (options: CallOptions): Promise<void> => {
    while (!stopped.signal.aborted) {
      try {
        const reply = await once(options);
        if (reply.status !== 200) failures.push(`${reply.status} ${String(reply.body)}`);
      } catch (error) {
        if (!(error instanceof Error) || !mayBreak(error)) failures.push(String(error));
      }
      done += 1;
    }
  };
  const lanes = [{ agent }, { agent }, { agent: false }, { agent: false }].map((options) => lane(options));
  return {
    done: () => done,
    stop: async () => {
      stopped.abort();
      await Promise.all(lanes);
      agent.destroy();
      return failures;
    },
  };
}

function admin(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath: join(folder, 'edge.sock'), path, agent: false });
    request.on('response', (response) => void read(response).then((body) => resolve(String(body)), reject));
    request.on('error', reject);
  });
}

const table = (): RouteTable => ({ rules: [rule(HOST, 'app')], groups: [group('app', [app.target])] });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'libra-data-plane-'));
  held = hold();
  app = await startInstance('app', (_request, response) => text(response, 'ok'));
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  held.close();
  await app.kill();
  await rm(folder, { recursive: true, force: true });
});

test('it follows control to another address, and tells it what is in force', async () => {
  const first = await startControl(table());
  await writeFile(join(folder, 'connection.json'), JSON.stringify({ url: first.url, token: 'first' }));
  const child = await startDataPlane();
  await until('it reports', () => first.reports.some((report) => report.sequence === 1));
  assert.deepEqual([...first.credentials], ['Bearer first']);
  assert.equal(first.reports[0]?.edgeId, `local.${child.pid ?? 0}`);
  assert.equal((await call(held.port, HOST, '/')).status, 200);
  await first.stop();
  assert.equal((await call(held.port, HOST, '/')).status, 200);
  const second = await startControl(table());
  await writeFile(join(folder, 'connection.json'), JSON.stringify({ url: second.url, token: 'second' }));
  await until('it reports there', () => second.reports.some((report) => report.sequence === 1));
  assert.deepEqual([...second.credentials], ['Bearer second']);
  assert.match(
    await admin('/metrics'),
    /libra_edge_requests_total\{app="app",environment="production",entrypoint="web",route="app.localhost\/",version="",code="200"\} 2\n/,
  );
  assert.deepEqual(JSON.parse(await admin('/table')), { sequence: 1, table: table() });
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
  const lines = (await readFile(join(folder, 'access.log'), 'utf8')).trim().split('\n');
  assert.equal(lines.length, 2);
  assert.equal((JSON.parse(lines[0] ?? '') as { instance: string }).instance, 'app'); // a line of the access log
  await second.stop();
});

test('it is replaced five times under load without a failed request', async () => {
  let current = await startDataPlane();
  const load = startLoad(() => false);
  for (let round = 0; round < 5; round += 1) {
    const next = await startDataPlane();
    const exited = once(current, 'exit');
    const from = load.done();
    current.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
    await until('requests flow on', () => load.done() > from + 50);
    // The predecessor has not taken the admin socket with it.
    assert.equal((JSON.parse(await admin('/healthz')) as { sequence: number }).sequence, 1); // what /healthz says
    current = next;
  }
  assert.deepEqual(await load.stop(), []);
  current.kill('SIGKILL');
});

test('killed under load, it costs only what was in flight: nobody is refused', async () => {
  let current = await startDataPlane();
  const load = startLoad((error) => error.code === 'ECONNRESET');
  for (let round = 0; round < 3; round += 1) {
    const from = load.done();
    await until('requests flow', () => load.done() > from + 50);
    current.kill('SIGKILL');
    current = await startDataPlane();
  }
  assert.deepEqual(await load.stop(), []);
  current.kill('SIGKILL');
});
