// What the platform is for: targets come and go under load and no request fails.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import type { RouteTarget } from '../api/dataplane.ts';
import { call, createScriptedLink, group, read, rule, startEdge, startInstance, text, until } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';

const cleanups: (() => Promise<void>)[] = [];
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

async function edgeFor(): Promise<TestEdge> {
  const edge = await startEdge();
  cleanups.push(() => edge.stop());
  return edge;
}

function draining(target: RouteTarget, drainUntilMs: number | null = null): RouteTarget {
  return { ...target, state: 'draining', drainUntilMs };
}

test('2,000 requests of all kinds survive 20 exchanges of both targets', async () => {
  const edge = await edgeFor();
  const serve: http.RequestListener = (request, response) => {
    if (request.method === 'GET') return text(response, 'ok');
    void read(request).then((body) => text(response, String(body.length)));
  };
  const start = (round: number): Promise<TestInstance[]> => Promise.all(['a', 'b'].map((slot) => startInstance(`i${round}${slot}`, serve)));
  let current = await start(0);
  await edge.install({
    rules: [rule('app.localhost', 'app')],
    groups: [
      group(
        'app',
        current.map((instance) => instance.target),
      ),
    ],
  });

  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  cleanups.push(() => Promise.resolve(agent.destroy()));
  const failures: string[] = [];
  const big = Buffer.alloc(300_000, 'x');
  let done = 0;
  const total = 2_000;
  const worker = async (lane: number): Promise<void> => {
    while (done < total) {
      done += 1;
      const kind = (done + lane) % 8;
      const options: { agent: http.Agent | false; method?: string; body?: Buffer } = { agent: kind < 4 ? agent : false };
      if (kind === 1 || kind === 5) Object.assign(options, { method: 'POST', body: Buffer.from('short') });
      if (kind === 2 || kind === 6) Object.assign(options, { method: 'POST', body: big });
      const expected = options.method === undefined ? 'ok' : String(options.body?.length);
      try {
        const reply = await call(edge.port, 'app.localhost', '/', options);
        if (reply.status !== 200 || String(reply.body) !== expected) failures.push(`${reply.status} ${String(reply.body).slice(0, 200)}`);
      } catch (error) {
        failures.push(String(error));
      }
    }
  };
  const swaps = async (): Promise<void> => {
    for (let round = 1; round <= 20; round += 1) {
      const next = await start(round);
      const old = current;
      current = next;
      // As a rollout does it: new ones in, old ones draining; stopped when the Edge says that nothing is open there.
      const table = [...next.map((instance) => instance.target), ...old.map((instance) => draining(instance.target))];
      await edge.put(group('app', table));
      const { sequence } = edge.edge.table() ?? { sequence: 0 };
      await until('the old targets are drained', () => {
        const report = edge.link.reports.at(-1);
        return report?.sequence === sequence && old.every((instance) => report.draining[instance.target.instanceId] === 0);
      });
      // Nothing is open there: an end without grace must not be felt.
      await Promise.all(old.map((instance) => instance.kill()));
      await edge.put(
        group(
          'app',
          next.map((instance) => instance.target),
        ),
      );
      const at = done;
      await until('traffic goes on', () => done >= Math.min(at + 80, total));
    }
  };
  await Promise.all([swaps(), ...Array.from({ length: 12 }, (_, lane) => worker(lane))]);
  assert.deepEqual(failures, []);
  await Promise.all(current.map((instance) => instance.close()));
});

test('a target that stops before the table says so costs no request that may be repeated', async () => {
  const edge = await edgeFor();
  const stays = await startInstance('stays', (_request, response) => text(response, 'ok'));
  cleanups.push(() => stays.kill());
  let leaves = await startInstance('leaves', (_request, response) => text(response, 'ok'));
  await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', [stays.target, leaves.target])] });
  const failures: string[] = [];
  const stop = new AbortController();
  let done = 0;
  const worker = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const reply = await call(edge.port, 'app.localhost', '/').catch((error: unknown) => String(error));
      if (typeof reply === 'string' || reply.status !== 200) failures.push(typeof reply === 'string' ? reply : String(reply.body));
      done += 1;
    }
  };
  const workers = Array.from({ length: 6 }, worker);
  for (let round = 0; round < 10; round += 1) {
    const at = done;
    await until('requests flow', () => done > at + 20);
    const { port } = leaves;
    await leaves.kill();
    const killedAt = done;
    await until('requests flow on', () => done > killedAt + 20);
    leaves = await startInstance('leaves', (_request, response) => text(response, 'ok'), port);
  }
  stop.abort();
  await Promise.all(workers);
  await leaves.kill();
  assert.deepEqual(failures, []);
});

test('open streams keep a draining target busy, and are ended at the drain limit', async () => {
  const edge = await edgeFor();
  let streamEnded = false;
  const old = await startInstance('old', (request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: first\n\n');
      response.on('close', () => {
        streamEnded = true;
      });
      return;
    }
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    response.write('part');
  });
  cleanups.push(() => old.kill());
  const sockets = new WebSocketServer({ server: old.server });
  let serverCode = 0;
  sockets.on('connection', (socket) => socket.on('close', (code) => (serverCode = code)));
  const next = await startInstance('next', (_request, response) => text(response, 'next'));
  cleanups.push(() => next.kill());
  await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', [old.target])] });

  const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/ws`, { headers: { host: 'app.localhost' } });
  const socketCode = new Promise<number>((resolve) => void socket.on('close', (code) => resolve(code)));
  await new Promise((resolve) => void socket.on('open', resolve));
  const events = call(edge.port, 'app.localhost', '/events');
  const download = call(edge.port, 'app.localhost', '/file').then(
    () => 'whole',
    () => 'reset',
  );
  await until('three are open', () => edge.edge.health().open === 3);

  await edge.put(group('app', [next.target, draining(old.target, Date.now() + 60_000)]));
  assert.equal(String((await call(edge.port, 'app.localhost', '/')).body), 'next');
  await until('the count is reported', () => edge.link.reports.at(-1)?.draining['old'] === 3);
  assert.equal(socket.readyState, WebSocket.OPEN);
  assert.equal(streamEnded, false);

  await edge.put(group('app', [next.target, draining(old.target, Date.now() + 50)]));
  assert.equal(await socketCode, 1001);
  assert.equal(String((await events).body), 'data: first\n\n');
  assert.equal(await download, 'reset');
  await until('the end is reported', () => edge.link.reports.at(-1)?.draining['old'] === 0);
  await until('the server saw the close frame', () => serverCode === 1001);
});

test('requests wait, in order, for an App that is starting', async () => {
  const edge = await edgeFor();
  const seen: string[] = [];
  const app = await startInstance('app', (request, response) => {
    seen.push(request.url ?? '');
    text(response, 'ok');
  });
  cleanups.push(() => app.kill());
  await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', [], 'starting')] });
  const replies: Promise<{ status: number }>[] = [];
  for (let index = 0; index < 5; index += 1) {
    replies.push(call(edge.port, 'app.localhost', `/${index}`, { method: 'POST', body: 'x' }));
    await until('it waits', () => edge.edge.metrics().includes(`libra_edge_waiting_requests ${index + 1}\n`));
  }
  await edge.put(group('app', [app.target]));
  assert.deepEqual(
    (await Promise.all(replies)).map((reply) => reply.status),
    [200, 200, 200, 200, 200],
  );
  assert.deepEqual(seen, ['/0', '/1', '/2', '/3', '/4']);
});

test('a wait for a starting App ends with a page that says when to come back', async () => {
  const edge = await startEdge({ startingWaitMs: 30, startingQueue: 1 });
  cleanups.push(() => edge.stop());
  await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', [], 'starting')] });
  const [one, two] = await Promise.all([call(edge.port, 'app.localhost', '/'), call(edge.port, 'app.localhost', '/')]);
  for (const reply of [one, two]) {
    assert.equal(reply.status, 503);
    assert.equal(reply.headers['retry-after'], '5');
    assert.match(String(reply.body), /libra ps -a app/);
  }
});

test('the last table serves while control is away and after a start without it', async () => {
  const edge = await startEdge();
  const app = await startInstance('app', (_request, response) => text(response, 'ok'));
  cleanups.push(() => app.kill());
  await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', [app.target])] });
  edge.link.disconnect();
  assert.equal((await call(edge.port, 'app.localhost', '/')).status, 200);
  await until('it asks again', () => edge.link.connections() > 1);
  const { tableFile } = edge;
  await until('the table is kept', () => edge.savedSequence() === 1);
  await edge.edge.stop({ drainMs: 0 });
  const again = await startEdge({ tableFile });
  assert.equal((await call(again.port, 'app.localhost', '/')).status, 200);
  await again.stop();
  await edge.stop();
});

test('a start with a kept table serves nobody from it before control, which is there, has said what has changed', async () => {
  const edge = await startEdge();
  const [gone, fresh] = await Promise.all(
    ['gone', 'fresh'].map((name) => startInstance(name, (_request, response) => text(response, name))),
  );
  assert.ok(gone !== undefined && fresh !== undefined);
  cleanups.push(() => fresh.kill());
  const rules = [rule('app.localhost', 'app')];
  await edge.install({ rules, groups: [group('app', [gone.target])] });
  await until('the table is kept', () => edge.savedSequence() === 1);
  await edge.edge.stop({ drainMs: 0 });
  await gone.kill();
  const link = createScriptedLink();
  link.push({ type: 'snapshot', sequence: 2, table: { rules, groups: [group('app', [fresh.target])] } });
  const again = await startEdge({ tableFile: edge.tableFile, link });
  const reply = await call(again.port, 'app.localhost', '/');
  assert.deepEqual([reply.status, String(reply.body)], [200, 'fresh']);
  await again.stop();
  await edge.stop();
});

test('a gap in the deltas asks for a new snapshot and keeps the old table until it comes', async () => {
  const edge = await edgeFor();
  const app = await startInstance('app', (_request, response) => text(response, 'ok'));
  cleanups.push(() => app.kill());
  const table = { rules: [rule('app.localhost', 'app')], groups: [group('app', [app.target])] };
  await edge.install(table);
  edge.link.push({ type: 'delta', sequence: 7, putGroups: [], removeGroups: ['app'] });
  await until('it asks again', () => edge.link.connections() === 2);
  assert.equal((await call(edge.port, 'app.localhost', '/')).status, 200);
  edge.link.push({ type: 'snapshot', sequence: 7, table: { ...table, rules: [] } });
  await until('the snapshot is in force', () => edge.edge.table()?.sequence === 7);
  assert.equal((await call(edge.port, 'app.localhost', '/')).status, 404);
});

test('a stopping Edge finishes what is open, tells keep-alive clients to go, and then is gone', async () => {
  const edge = await startEdge();
  let release = (): void => undefined;
  const app = await startInstance('app', (request, response) => {
    if (request.url === '/slow') release = () => text(response, 'slow');
    else text(response, 'ok');
  });
  cleanups.push(() => app.kill());
  await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', [app.target])] });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  await call(edge.port, 'app.localhost', '/', { agent });
  const slow = call(edge.port, 'app.localhost', '/slow');
  await until('it is open', () => edge.edge.health().open === 1);
  const stopped = edge.edge.stop({ drainMs: 10_000 });
  const kept = await call(edge.port, 'app.localhost', '/', { agent });
  assert.equal(kept.reused, true);
  assert.equal(kept.headers.connection, 'close');
  await assert.rejects(call(edge.port, 'app.localhost', '/'), { code: 'ECONNREFUSED' });
  release();
  const reply = await slow;
  assert.equal(String(reply.body), 'slow');
  assert.equal(reply.headers.connection, 'close');
  await stopped;
  await edge.stop();
});
