// Connections that wait for their use, between a real client and a real data port, with a wire that the test holds.

import assert from 'node:assert/strict';
import net from 'node:net';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { newId } from '../lib/id.ts';
import { silentLog } from '../sys/log.ts';
import { createDataPortClient } from './data-port-client.ts';
import type { DataPortClient } from './data-port-client.ts';
import { createDataPort } from './data-port.ts';
import type { DataPort } from './data-port.ts';
import type { MachineIdentity } from './identity.ts';
import { listenOnLoopback, until } from './loopback-fixture.ts';
import type { Loopback } from './loopback-fixture.ts';

const authority = makeAuthority();
const [nodeId, edgeId] = [newId(), newId()];
const edge = authority.issueMachine(edgeId);

/** A program on loopback that ends with the test. */
async function listen(context: TestContext, onConnection: (socket: Socket) => void): Promise<Loopback> {
  const program = await listenOnLoopback(onConnection);
  context.after(() => program.end());
  return program;
}

interface Setting {
  readonly port: DataPort;
  readonly client: DataPortClient;
  readonly edges: Set<string>;
  /** Connections that the client has begun so far. */
  readonly wires: Socket[];
  /** Resolves when so many have begun, and the last one is open and waits. */
  waits(begun: number): Promise<void>;
  /** No new connection comes about from now on. */
  cut(): void;
  /** Says hello to the Instance and gives what it answers; or why there was no connection. */
  greet(): Promise<string>;
}

async function setUp(
  context: TestContext,
  options: { readonly clock?: Clock; readonly identity?: () => MachineIdentity } = {},
): Promise<Setting> {
  const instance = await listen(context, (socket) => void socket.pipe(socket));
  const edges = new Set([edgeId]);
  const port = createDataPort({
    identity: () => authority.issueMachine(nodeId, ['node']),
    listen: { host: '127.0.0.1', port: 0 },
    resolve: () => ({ host: '127.0.0.1', port: instance.port }),
    mayConnect: (id) => edges.has(id),
    clock: systemClock,
    log: silentLog,
  });
  const address = await port.start();
  context.after(() => port.stop());
  const wires: Socket[] = [];
  const wire = await listen(context, (socket) => {
    wires.push(socket);
    const further = net.connect({ ...address, allowHalfOpen: true });
    further.on('error', () => socket.destroy());
    further.on('close', () => socket.destroy());
    socket.on('close', () => further.destroy());
    socket.pipe(further).pipe(socket);
  });
  const client = createDataPortClient({ identity: options.identity ?? (() => edge), clock: options.clock ?? systemClock });
  context.after(() => client.stop());
  return {
    port,
    client,
    edges,
    wires,
    waits: (begun) =>
      until(() => {
        const open = wires.filter((each) => !each.destroyed);
        const { connections, handshakes } = port.counts();
        return wires.length === begun && open.length === 1 && open[0] === wires.at(-1) && connections === 1 && handshakes === 0;
      }, `${begun} connections have begun, and one waits`),
    cut: wire.close,
    greet: async () => {
      let text = '';
      try {
        const socket = await client.connect(
          { nodeId, host: '127.0.0.1', port: wire.port },
          { instanceId: 'i', generation: 1, end: 'half' },
          2_000,
          { onRead: (bytes) => void (text += String(bytes)) },
        );
        socket.on('error', () => undefined);
        socket.resume();
        socket.write('hello');
        await until(() => text === 'hello', 'the Instance answers');
        socket.destroy();
        return text;
      } catch (error) {
        assert.ok(isFailure(error), String(error));
        return `${error.code}: ${error.message}`;
      }
    },
  };
}

test('the second connection takes one that has waited for it, and needs no other', async (context) => {
  const { greet, cut, waits } = await setUp(context);
  assert.equal(await greet(), 'hello');
  await waits(2);
  cut();
  assert.equal(await greet(), 'hello');
  assert.match(await greet(), /ECONNREFUSED/u, 'there was only one');
});

test('one that goes as it is used, or before, costs nothing but its time', async (context) => {
  const { greet, wires, waits } = await setUp(context);
  assert.equal(await greet(), 'hello');
  await waits(2);
  // It ends as soon as it is said what is wanted.
  wires[1]?.once('data', () => wires[1]?.destroy());
  assert.equal(await greet(), 'hello');
  await waits(4);
  wires.at(-1)?.destroy();
  assert.equal(await greet(), 'hello');
  await waits(6);
});

test('they are few, and are let go when nobody wants them', async (context) => {
  const clock = createFakeClock();
  const { greet, port } = await setUp(context, { clock });
  for (let times = 0; times < 3; times += 1)
    assert.deepEqual(await Promise.all([greet(), greet(), greet(), greet()]), Array(4).fill('hello'));
  await until(() => port.counts().connections === 2 && port.counts().handshakes === 0, 'two wait');
  await clock.advance(10_000);
  await until(() => port.counts().connections === 0, 'none waits');
});

test('they end with the certificate that they were made with, and with the machine', async (context) => {
  let identity = edge;
  const { greet, port, wires, waits, edges, client } = await setUp(context, { identity: () => identity });
  assert.equal(await greet(), 'hello');
  await waits(2);
  identity = authority.issueMachine(edgeId);
  const [, first] = wires;
  assert.equal(await greet(), 'hello');
  await waits(4);
  assert.equal(first?.destroyed, true, 'the old one is gone');
  edges.clear();
  port.recheck();
  await until(() => port.counts().connections === 0, 'a machine that is removed has none');
  assert.match(await greet(), /may not reach Instances there/u);
  edges.add(edgeId);
  assert.equal(await greet(), 'hello');
  await waits(7);
  client.stop();
  await until(() => port.counts().connections === 0, 'none is left behind');
});
