import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { newId } from '../lib/id.ts';
import { silentLog } from '../sys/log.ts';
import { createDataPortClient } from '../tunnel/data-port-client.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { startDataPort } from './data-port.ts';
import type { AgentDataPort } from './data-port.ts';
import { newInstanceState } from './instance-state.ts';
import type { InstanceState } from './instance-state.ts';
import { createBench } from './testing-agent.ts';
import { desiredInstance } from './testing.ts';

const authority = makeAuthority();
const nodeId = newId();
const edge = authority.issueMachine(newId());

async function folderOf(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-data-port-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A program that greets. */
async function program(context: TestContext): Promise<number> {
  const server = net.createServer((socket) => socket.on('error', () => undefined).end('hello'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

interface Setting {
  readonly port: AgentDataPort;
  /** What becomes of asking for the Instance. */
  ask(generation?: number, who?: MachineIdentity): Promise<string>;
}

async function open(context: TestContext, folder: string, state: () => InstanceState | undefined): Promise<Setting> {
  const identity = authority.issueMachine(nodeId, ['node']);
  const port = await startDataPort(
    { identity: () => identity, host: '127.0.0.1', port: 0 },
    { clock: systemClock, log: silentLog, file: join(folder, 'peers.json'), state: (id) => (id === 'instance-1' ? state() : undefined) },
  );
  context.after(() => port.stop());
  return {
    port,
    ask: async (generation = 1, who = edge) => {
      const client = createDataPortClient({ identity: () => who, clock: systemClock });
      try {
        const socket = await client.connect({ nodeId, ...port.address }, { instanceId: 'instance-1', generation, end: 'half' }, 2_000);
        const [greeting] = await once(socket, 'data');
        socket.destroy();
        return String(greeting);
      } catch (error) {
        assert.ok(isFailure(error, 'unreachable'), String(error));
        return String(error.details?.['refusal']);
      }
    },
  };
}

test('an Instance is found by its id and state on this Node, whatever its address was', async (context) => {
  const up: InstanceState = {
    ...newInstanceState(desiredInstance({ generation: 2 })),
    activity: 'up',
    host: '127.0.0.1',
    port: await program(context),
  };
  let state: InstanceState | undefined;
  const { port, ask } = await open(context, await folderOf(context), () => state);
  port.setPeers([edge.nodeId]);
  assert.equal(await ask(), 'unknown_instance');
  state = up;
  assert.equal(await ask(1), 'hello', 'of a later generation than asked for');
  assert.equal(await ask(2), 'hello');
  assert.equal(await ask(3), 'stale_generation');
  state = { ...up, activity: 'closing' };
  assert.equal(await ask(), 'hello', 'while it ends, it answers what it still can');
  state = { ...up, activity: 'waiting' };
  assert.equal(await ask(), 'not_running');
  state = { ...up, port: null };
  assert.equal(await ask(), 'not_running');
});

test('a laptop that is connected to this machine is found by its session, as long as control says so', async (context) => {
  const { port, ask } = await open(context, await folderOf(context), () => undefined);
  port.setPeers([edge.nodeId]);
  port.setSessions({ 'instance-1': await program(context) });
  assert.equal(await ask(0), 'hello');
  port.setSessions({});
  assert.equal(await ask(0), 'unknown_instance');
});

test('nobody comes in before control has said who may, and what it has said holds over a restart', async (context) => {
  const folder = await folderOf(context);
  const up: InstanceState = {
    ...newInstanceState(desiredInstance({})),
    activity: 'up',
    host: '127.0.0.1',
    port: await program(context),
  };
  const first = await open(context, folder, () => up);
  assert.equal(await first.ask(), 'refused');
  first.port.setPeers([edge.nodeId]);
  assert.equal(await first.ask(), 'hello');
  await first.port.stop();
  const second = await open(context, folder, () => up);
  assert.equal(await second.ask(), 'hello', 'control has not been heard of so far');
  second.port.setPeers([newId()]);
  assert.equal(await second.ask(), 'refused');
});

test('an agent tells where its data port is, and keeps whom control lets in', async (context) => {
  const identity = authority.issueMachine(nodeId, ['node']);
  const bench = await createBench(() => ({ listens: true }), {
    dataPort: { identity: () => identity, host: '127.0.0.1', port: 0, advertised: 'node-1.example' },
  });
  context.after(() => bench.close());
  bench.control.peers(['one', 'two']);
  await bench.until('it has reported', () => bench.control.reports.length > 0);
  const { dataPort } = bench.control.reports[0] ?? {};
  assert.equal(dataPort?.host, 'node-1.example');
  assert.ok(typeof dataPort?.port === 'number' && dataPort.port > 0);
  const kept = async (): Promise<string> => await readFile(join(bench.folder, 'peers.json'), 'utf8').catch(() => '');
  let text = '';
  await bench.until('it is kept', () => {
    void kept().then((now) => (text = now));
    return text === '["one","two"]\n';
  });
});
