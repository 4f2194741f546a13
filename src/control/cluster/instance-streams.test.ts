import assert from 'node:assert/strict';
import { test } from 'node:test';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { CALL_FRAME } from '../../api/agent.ts';
import type { AgentCall } from '../../api/agent.ts';
import { createClient, socketUrl } from '../../api/client.ts';
import { table } from '../../api/table.ts';
import { systemClock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import { create, put } from '../../store/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import type { Principal } from '../handler.ts';
import { createIdempotencyStore } from '../server-idempotency.ts';
import { createServer } from '../server.ts';
import { anInstance, aStatus, createTestContext, nodePrincipal, owner, seedApp } from '../test-context.ts';
import type { ControlContext } from '../context.ts';
import { createCluster } from './cluster.ts';
import { instanceStatusRecords } from './records.ts';

const { logs, exec, files, stats } = table.instances;
const part = { agent: table.agent, instances: { logs, exec, files, stats } };
const place = { app: 'shop', environment: 'production' };
const everything = (principal: Principal): Principal => ({
  ...principal,
  permissions: new Set(['logs.read', 'apps.read', 'exec', 'agent.sync']),
});

type Answer = (call: AgentCall, socket: WebSocket) => Promise<void> | void;
const frame = (kind: number, value: unknown): Buffer =>
  Buffer.concat([Buffer.of(kind), typeof value === 'string' ? Buffer.from(value) : Buffer.from(JSON.stringify(value))]);

interface Platform {
  readonly context: ControlContext;
  readonly url: string;
  /** Connects an agent that answers calls so; resolves when it is connected. */
  readonly agent: (answer: Answer) => Promise<void>;
  readonly exec: (instance: string, command: readonly string[]) => Promise<WebSocket>;
}

async function withPlatform(run: (platform: Platform) => Promise<void>): Promise<void> {
  const seeded = await createTestContext();
  // Real sockets need real time; the records do not mind.
  const context: ControlContext = { ...seeded, clock: systemClock };
  await seedApp(context);
  await context.view.commit(create(instanceSpecRecords, anInstance()), put(instanceStatusRecords, aStatus()));
  const cluster = createCluster(context, { openValue: () => Buffer.alloc(0), ownNodeId: 'own' });
  const server = createServer({
    table: part,
    handlers: { agent: cluster.handlers.agent, instances: cluster.instanceStreams },
    idempotency: createIdempotencyStore(context),
    authenticate: (header) => everything(header === 'Bearer node' ? nodePrincipal : owner),
    authorise: () => undefined,
    clock: context.clock,
    random: context.random,
    log: context.log,
    version: '0.0.0',
    domain: 'localhost',
  });
  const { url } = await server.start({ host: '127.0.0.1', port: 0 });
  const gone = new AbortController();
  const agents: Promise<void>[] = [];
  const agent = async (answer: Answer): Promise<void> => {
    const client = createClient(part, { url, token: 'node' });
    const connected = Promise.withResolvers<void>();
    const follow = async (): Promise<void> => {
      for await (const message of client.agent.sync({ signal: gone.signal })) {
        if (message.type === 'snapshot') connected.resolve();
        if (message.type !== 'call') continue;
        const socket = new WebSocket(socketUrl(url, table.agent.call, { params: { call: message.callId } }), {
          headers: { authorization: 'Bearer node' },
        });
        socket.on('open', () => void answer(message.call, socket));
      }
    };
    agents.push(follow().catch(() => undefined));
    await connected.promise;
  };
  try {
    await run({
      context,
      url,
      agent,
      exec: async (instance, command) => {
        const query = { command: JSON.stringify(command) };
        const socket = new WebSocket(socketUrl(url, exec, { params: { ...place, instance }, query }), {
          headers: { authorization: 'Bearer owner' },
        });
        await once(socket, 'open');
        return socket;
      },
    });
  } finally {
    gone.abort();
    await Promise.all(agents);
    cluster.stop();
    await server.stop();
    await seeded.close();
  }
}

async function framesOf(socket: WebSocket): Promise<Buffer[]> {
  const frames: Buffer[] = [];
  socket.on('message', (data: Buffer) => frames.push(data));
  await once(socket, 'close');
  return frames;
}

test('logs pass from the agent to the reader', { timeout: 20_000 }, () =>
  withPlatform(async ({ url, agent }) => {
    const asked: AgentCall[] = [];
    await agent((call, socket) => {
      asked.push(call);
      for (const n of [1, 2, 3]) socket.send(frame(CALL_FRAME.json, { atMs: n, stream: 'stdout', text: `line ${n}`, cursor: String(n) }));
      socket.close();
    });
    const client = createClient(part, { url, token: 'owner' });
    const texts: string[] = [];
    for await (const line of client.instances.logs({ params: place, query: { tail: 2 } })) texts.push(line.text);
    assert.deepEqual(texts, ['line 2', 'line 3']);
    assert.deepEqual(asked, [{ kind: 'logs', instanceId: 'instance-1', after: null, tail: 2, follow: false }]);
  }),
);

test('a Node without an agent is said to be so at once', { timeout: 20_000 }, () =>
  withPlatform(async ({ url }) => {
    const client = createClient(part, { url, token: 'owner', attempts: 1 });
    const read = async (): Promise<void> => {
      for await (const _line of client.instances.logs({ params: place, query: {}, giveUpAfterMs: 0 }));
    };
    await assert.rejects(read(), (error) => isFailure(error, 'unavailable'));
  }),
);

test('a history is what the agent tells, and no more than it was asked for', { timeout: 20_000 }, () =>
  withPlatform(async ({ url, agent }) => {
    const client = createClient(part, { url, token: 'owner', attempts: 1 });
    const ask = async () => await client.instances.stats({ params: place, query: { since: 1000, until: 9000 } });
    assert.deepEqual(await ask(), { items: [], missing: [{ node: 'laptop', message: 'The agent of the Node is not connected.' }] });
    let answers: readonly unknown[] = [];
    await agent((call, socket) => {
      assert.deepEqual(call, { kind: 'stats', ids: ['instance-1'], sinceMs: 1000, untilMs: 9000 });
      for (const answer of answers) socket.send(frame(CALL_FRAME.json, answer));
      socket.close();
    });
    const points = [[5000, 0.5, 100, null, null, -1, 7], [6000], 'none'];
    answers = [
      { id: 'instance-2', stepMs: 1000, points },
      { id: 'instance-1', stepMs: 1000, points },
    ];
    const values = { receivedPerSecond: null, sentPerSecond: null, readPerSecond: null, writtenPerSecond: 7 };
    const item = { instance: 'instance-1', entrypoint: 'web', slot: 0, node: 'laptop', stepMs: 1000 };
    assert.deepEqual(await ask(), {
      items: [{ ...item, points: [{ atMs: 5000, cpu: 0.5, memoryBytes: 100, ...values }] }],
      missing: [],
    });
    answers = [];
    assert.deepEqual(
      (await ask()).missing.map(({ node }) => node),
      ['laptop'],
    );
    await assert.rejects(client.instances.stats({ params: place, query: { since: 2, until: 1 } }), /`since` is later/u);
  }),
);

test('exec carries input, output, errors and the exit code', { timeout: 20_000 }, () =>
  withPlatform(async (platform) => {
    await platform.agent((call, socket) => {
      assert.deepEqual(call, { kind: 'exec', instanceId: 'instance-1', command: ['cat', 'a b'] });
      socket.on('message', (data: Buffer) => {
        if (data[0] === CALL_FRAME.input) socket.send(Buffer.concat([Buffer.of(CALL_FRAME.output), data.subarray(1)]));
        else {
          socket.send(frame(CALL_FRAME.errors, 'warned'));
          socket.send(frame(CALL_FRAME.exit, { code: 3, signal: null }));
        }
      });
    });
    const socket = await platform.exec('instance-1', ['cat', 'a b']);
    const frames = framesOf(socket);
    socket.send(frame(CALL_FRAME.input, 'hello'));
    socket.send(frame(CALL_FRAME.json, 'not for the agent'));
    socket.send(Buffer.of(CALL_FRAME.endInput));
    assert.deepEqual(
      (await frames).map((one) => [one[0], one.subarray(1).toString()]),
      [
        [CALL_FRAME.output, 'hello'],
        [CALL_FRAME.errors, 'warned'],
        [CALL_FRAME.exit, '{"code":3,"signal":null}'],
      ],
    );
  }),
);

test('files pass in both ways, with what became of them, and only to an Instance that runs', { timeout: 20_000 }, () =>
  withPlatform(async ({ url, agent }) => {
    const asked: AgentCall[] = [];
    await agent((call, socket) => {
      asked.push(call);
      const end = (): void => {
        socket.send(frame(CALL_FRAME.json, { leftOut: 0, examples: [] }));
        socket.send(frame(CALL_FRAME.exit, { code: 0, signal: null }));
      };
      if (call.kind === 'write') socket.on('message', (data: Buffer) => data[0] === CALL_FRAME.endInput && end());
      else {
        socket.send(frame(CALL_FRAME.output, 'tar'));
        end();
      }
    });
    const open = (query: object, instance = 'instance-1'): WebSocket =>
      new WebSocket(socketUrl(url, files, { params: { ...place, instance }, query: { path: 'data', ...query } }), {
        headers: { authorization: 'Bearer owner' },
      });
    const kinds = async (socket: WebSocket): Promise<readonly unknown[]> => (await framesOf(socket)).map(([kind]) => kind);
    assert.deepEqual(await kinds(open({ direction: 'out' })), [CALL_FRAME.output, CALL_FRAME.json, CALL_FRAME.exit]);
    const into = open({ direction: 'in', named: 'false' });
    into.once('open', () => into.send(Buffer.of(CALL_FRAME.endInput)));
    assert.deepEqual(await kinds(into), [CALL_FRAME.json, CALL_FRAME.exit]);
    assert.deepEqual(asked, [
      { kind: 'read', instanceId: 'instance-1', path: 'data' },
      { kind: 'write', instanceId: 'instance-1', path: 'data', named: false },
    ]);
    await assert.rejects(once(open({ direction: 'out' }, 'none'), 'open'), /404/u);
    await assert.rejects(once(open({ direction: 'sideways' }), 'open'), /400/u);
  }),
);

test('a client that goes takes the command with it, and an agent that breaks off is told to the client', { timeout: 20_000 }, () =>
  withPlatform(async (platform) => {
    const closed = Promise.withResolvers<void>();
    let breakOff = false;
    const opened = Promise.withResolvers<void>();
    await platform.agent((_call, socket) => {
      if (breakOff) socket.terminate();
      else {
        socket.on('close', () => closed.resolve());
        opened.resolve();
      }
    });
    const leaving = await platform.exec('instance-1', ['sleep', '1000']);
    await opened.promise;
    leaving.terminate();
    await closed.promise;
    breakOff = true;
    const [last] = (await framesOf(await platform.exec('instance-1', ['sleep', '1000']))).slice(-1);
    assert.equal(last?.[0], CALL_FRAME.failure);
    assert.match(last?.toString() ?? '', /"code":"unavailable"/u);
  }),
);

test('large output does not pile up: the agent is held back while the client does not read', { timeout: 30_000 }, () =>
  withPlatform(async (platform) => {
    let sent = 0;
    const chunk = Buffer.concat([Buffer.of(CALL_FRAME.output), Buffer.alloc(64 * 1024)]);
    const total = 1600;
    await platform.agent(async (_call, socket) => {
      for (; sent < total; sent += 1) {
        // Resolves when the bytes have left this process: then somebody took them.
        await new Promise<void>((resolve) => socket.send(chunk, () => resolve()));
        while (socket.bufferedAmount > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      socket.send(frame(CALL_FRAME.exit, { code: 0, signal: null }));
    });
    const socket = await platform.exec('instance-1', ['yes']);
    socket.pause();
    // oxlint-disable-next-line no-unmodified-loop-condition -- the agent above sends meanwhile
    for (let before = -1; before !== sent || sent === 0;) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(sent < total / 2, `${sent} of ${total} chunks were taken from the agent while nobody read`);
    let received = 0;
    socket.on('message', (data: Buffer) => {
      if (data[0] === CALL_FRAME.output) received += 1;
    });
    socket.resume();
    await once(socket, 'close');
    assert.equal(received, total);
  }),
);

test('a command that is none, or an Instance that does not run, is refused before the upgrade', { timeout: 20_000 }, () =>
  withPlatform(async (platform) => {
    await platform.context.view.commit(create(instanceSpecRecords, anInstance({ id: 'pending' })));
    await assert.rejects(platform.exec('instance-1', []), /400/u);
    await assert.rejects(platform.exec('pending', ['ls']), /503/u);
    await assert.rejects(platform.exec('none', ['ls']), /404/u);
  }),
);

test('what an agent says last is heard, also by a client that reads slowly and still sends', { timeout: 30_000 }, () =>
  withPlatform(async ({ url, agent }) => {
    const gone = Promise.withResolvers<void>();
    // More than the network takes in while nobody reads, and less than would be held back.
    const output = Array.from({ length: 12 }, () => Buffer.concat([Buffer.of(CALL_FRAME.output), Buffer.alloc(900 * 1024)]));
    await agent((_call, socket) => {
      socket.on('close', () => gone.resolve());
      for (const each of output) socket.send(each);
      socket.send(frame(CALL_FRAME.failure, { code: 'invalid_input', message: 'not like this', hint: null }));
      socket.close();
    });
    const socket = new WebSocket(
      socketUrl(url, files, { params: { ...place, instance: 'instance-1' }, query: { path: 'x', direction: 'in' } }),
      { headers: { authorization: 'Bearer owner' } },
    );
    const frames = framesOf(socket);
    await once(socket, 'open');
    socket.pause();
    await gone.promise;
    for (let sent = 0; sent < 50; sent += 1) {
      await new Promise<void>((resolve) => socket.send(Buffer.of(CALL_FRAME.input, 1), () => resolve()));
    }
    socket.resume();
    const all = await frames;
    assert.equal(all.length, output.length + 1);
    assert.match(all.at(-1)?.toString() ?? '', /not like this/u);
  }),
);
