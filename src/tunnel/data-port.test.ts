import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import tls from 'node:tls';
import { createHash } from 'node:crypto';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { createSeededRandom, newId } from '../lib/id.ts';
import { silentLog } from '../sys/log.ts';
import { createDataPortClient } from './data-port-client.ts';
import type { DataPortClient } from './data-port-client.ts';
import { createDataPort } from './data-port.ts';
import type { DataPort, DataPortLimits, Resolved } from './data-port.ts';
import type { MachineIdentity } from './identity.ts';
import { listenOnLoopback, until } from './loopback-fixture.ts';
import type { Loopback } from './loopback-fixture.ts';
import { PROTOCOL } from './preface.ts';

const authority = makeAuthority();
const nodeId = newId();
const edgeId = newId();
const node = authority.issueMachine(nodeId, ['node']);
const edge = authority.issueMachine(edgeId);
const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

/** A program on loopback that ends with the test. */
async function listen(onConnection: (socket: Socket) => void): Promise<Loopback> {
  const program = await listenOnLoopback(onConnection);
  ending.push(() => program.end());
  return program;
}

interface Setting {
  readonly port: DataPort;
  readonly client: DataPortClient;
  readonly at: { readonly nodeId: string; readonly host: string; readonly port: number };
  /** What the Node says it runs. */
  readonly instances: Map<string, Resolved>;
  readonly edges: Set<string>;
  /** Of the Node; replaced for a rotation. */
  setIdentity(identity: MachineIdentity): void;
}

async function setUp(
  limits: Partial<DataPortLimits> = {},
  ofClient: () => MachineIdentity | null = () => edge,
  clock: Clock = systemClock,
): Promise<Setting> {
  const instances = new Map<string, Resolved>();
  const edges = new Set([edgeId]);
  let identity = node;
  const port = createDataPort({
    identity: () => identity,
    listen: { host: '127.0.0.1', port: 0 },
    resolve: (id) => instances.get(id) ?? 'unknown_instance',
    mayConnect: (id) => edges.has(id),
    clock,
    log: silentLog,
    limits,
  });
  const address = await port.start();
  ending.push(() => port.stop());
  const client = createDataPortClient({ identity: ofClient, clock: systemClock });
  ending.push(() => client.stop());
  return {
    port,
    client,
    at: { nodeId, ...address },
    instances,
    edges,
    setIdentity: (next) => {
      identity = next;
    },
  };
}

const asks = { instanceId: 'i', generation: 1, end: 'half' } as const;
const echo = (socket: Socket): void => void socket.pipe(socket);

async function readAll(socket: Socket): Promise<Buffer> {
  // An iterator would end the other direction too.
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  socket.resume();
  await Promise.race([once(socket, 'end'), once(socket, 'close').then(() => assert.fail('closed amid what it was saying'))]);
  return Buffer.concat(pieces);
}

/** How a connection is refused. */
async function refusal(connecting: Promise<Socket>): Promise<string> {
  try {
    (await connecting).destroy();
  } catch (error) {
    assert.ok(isFailure(error), String(error));
    return `${error.code}: ${error.message}`;
  }
  return 'it was let in';
}

test('a machine that may run an Edge reaches an Instance, and each direction ends by itself', async () => {
  const { client, at, instances, port } = await setUp();
  instances.set('i', await listen(echo));
  const socket = await client.connect(at, asks, 2_000);
  socket.end('over the port');
  assert.equal((await readAll(socket)).toString(), 'over the port');
  await until(() => port.counts().connections === 0, 'the connection is gone on the other side');
});

test('an Instance that speaks first is heard, with and without a reader of its own', async () => {
  const { client, at, instances } = await setUp();
  instances.set('i', await listen((socket) => socket.end('hello, whoever you are')));
  assert.equal((await readAll(await client.connect(at, asks, 2_000))).toString(), 'hello, whoever you are');
  let text = '';
  instances.set('i', await listen((socket) => socket.write('hello, whoever you are')));
  const socket = await client.connect(at, asks, 2_000, { onRead: (bytes) => void (text += bytes.toString()) });
  await until(() => text === 'hello, whoever you are', 'all of it is heard');
  socket.destroy();
});

test('an Instance that ends its side still hears the rest of what is said to it', async () => {
  const { client, at, instances } = await setUp();
  const heard = Promise.withResolvers<string>();
  instances.set(
    'i',
    await listen((socket) => {
      socket.end('done here');
      void readAll(socket).then((all) => heard.resolve(all.toString()));
    }),
  );
  const socket = await client.connect(at, asks, 2_000);
  assert.equal((await readAll(socket)).toString(), 'done here');
  socket.write('and another thing');
  socket.end();
  assert.equal(await heard.promise, 'and another thing');
});

test('an Instance that is reset is no Instance that has ended', async () => {
  const { client, at, instances } = await setUp();
  instances.set(
    'i',
    await listen((socket) => {
      socket.write('half of it');
      socket.once('data', () => socket.resetAndDestroy());
    }),
  );
  const socket = await client.connect(at, asks, 2_000);
  socket.write('now');
  await assert.rejects(readAll(socket), /ECONNRESET/u);
});

test('a peer that goes amid its message is a reset to the Instance, one that goes after an answer is not', async () => {
  const { client, at, instances } = await setUp();
  const ends: string[] = [];
  instances.set(
    'i',
    await listen((socket) => {
      socket.on('data', (bytes: Buffer) => {
        if (bytes.includes('answer me')) socket.write('here');
      });
      socket.on('end', () => {
        ends.push('end');
        socket.end();
      });
      socket.on('error', () => ends.push('reset'));
    }),
  );
  const amid = await client.connect(at, { ...asks, end: 'reset' }, 2_000);
  await new Promise((resolve) => amid.write('a part of', resolve));
  amid.destroy();
  await until(() => ends.length === 1, 'the Instance has heard of the first');
  const after = await client.connect(at, { ...asks, end: 'reset' }, 2_000);
  after.write('answer me');
  await once(after, 'data');
  after.destroy();
  await until(() => ends.length === 2, 'the Instance has heard of the second');
  assert.deepEqual(ends, ['reset', 'end']);
});

test('a peer that has ended before its Instance is reached is not forgotten', async () => {
  const { at, instances, port } = await setUp();
  const ends: string[] = [];
  instances.set(
    'i',
    await listen((socket) => {
      socket.on('error', () => ends.push('reset'));
      socket.on('end', () => {
        ends.push('end');
        socket.end();
      });
      socket.resume();
    }),
  );
  for (const end of ['half', 'reset']) {
    const socket = await connectRaw(at);
    socket.resume();
    socket.end(`connect i 1 ${end}\n`);
    await until(() => port.counts().connections === 0, `${end}: it is over`);
  }
  await until(() => ends.length === 2, 'the Instance has heard of both');
  assert.deepEqual(ends, ['end', 'reset']);
});

test('whoever is no Edge of this cluster gets nowhere', async () => {
  let identity: MachineIdentity | null = edge;
  const { client, at, instances, edges } = await setUp({}, () => identity);
  let reached = 0;
  instances.set(
    'i',
    await listen((socket) => {
      reached += 1;
      echo(socket);
    }),
  );
  const stranger = makeAuthority();
  const refused = async (who: MachineIdentity | null): Promise<string> => {
    identity = who;
    return await refusal(client.connect(at, asks, 2_000));
  };
  const withForeignCertificate = { ...stranger.issueMachine(edgeId), authorityPem: authority.certificatePem };
  assert.match(await refused(withForeignCertificate), /unreachable: .*(?:unknown ca|closed the connection|ECONNRESET)/u);
  const expired = authority.issueMachine(edgeId, ['node', 'edge'], { untilMs: Date.now() - 1_000 });
  assert.match(await refused(expired), /unreachable: .*(?:expired|closed the connection|ECONNRESET)/u);
  assert.match(await refused(authority.issueMachine(edgeId, ['control'])), /may not reach Instances there/u);
  const twoFaced = authority.issueMachine(edgeId, [], { names: [`${edgeId}.edge.libra.internal`, `${newId()}.edge.libra.internal`] });
  assert.match(await refused(twoFaced), /may not reach Instances there/u);
  const sly = authority.issueMachine(edgeId, [], { names: [`x, DNS:${edgeId}.edge.libra.internal`] });
  assert.match(await refused(sly), /may not reach Instances there/u);
  assert.match(await refused(authority.issueMachine(newId())), /may not reach Instances there/u);
  assert.match(await refused(null), /unavailable: .*no certificate of the cluster/u);
  edges.delete(edgeId);
  assert.match(await refused(edge), /may not reach Instances there/u);
  assert.equal(reached, 0);
  edges.add(edgeId);
  assert.equal(await refused(edge), 'it was let in');
});

test('without a certificate there is no connection', async () => {
  const { at, port } = await setUp();
  const socket = tls.connect({ ...at, ca: authority.certificatePem, checkServerIdentity: () => undefined, ALPNProtocols: [PROTOCOL] });
  const [error] = await once(socket, 'error');
  assert.match(String(error), /certificate required|ECONNRESET/u);
  await until(() => port.counts().handshakes === 0, 'it is forgotten');
});

test('an Edge does not talk to a Node that is another one, or none', async () => {
  const { client, at, instances } = await setUp();
  instances.set('i', await listen(echo));
  assert.match(await refusal(client.connect({ ...at, nodeId: newId() }, asks, 2_000)), /unreachable: .*(?:altnames|does not match)/u);
  const plain = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  assert.match(await refusal(client.connect({ nodeId, ...plain }, asks, 2_000)), /unreachable: Cannot connect to the data port of Node/u);
  const mute = await listen(() => undefined);
  assert.match(await refusal(client.connect({ nodeId, ...mute }, asks, 100)), /timeout: .*longer than 100 ms/u);
});

test('an Instance that is not there is refused by name, and a target that refuses too', async () => {
  const { client, at, instances } = await setUp();
  const gone = await listen(echo);
  gone.end();
  instances.set('old', 'stale_generation').set('stopped', 'not_running').set('gone', gone);
  const of = (instanceId: string): Promise<string> => refusal(client.connect(at, { ...asks, instanceId }, 2_000));
  assert.match(await of('who'), /unreachable: .* refuses Instance who: it has no such Instance/u);
  assert.match(await of('old'), /older generation only/u);
  assert.match(await of('stopped'), /does not run/u);
  assert.match(await of('gone'), /takes no connection/u);
});

/** A connection of the Edge's that has said nothing yet. */
async function connectRaw(at: { readonly host: string; readonly port: number }): Promise<tls.TLSSocket> {
  const socket = tls.connect({
    ...at,
    servername: `${nodeId}.node.libra.internal`,
    ca: edge.authorityPem,
    cert: edge.certificatePem,
    key: edge.keyPem,
    ALPNProtocols: [PROTOCOL],
    minVersion: 'TLSv1.3',
  });
  socket.on('error', () => undefined);
  ending.push(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

test('a preface that is none, never ends or never comes ends the connection', async () => {
  const { at, port } = await setUp({ prefaceMs: 50, waitingMs: 150 });
  const garbage = await connectRaw(at);
  garbage.write('GET / HTTP/1.1\r\n\r\n');
  assert.equal((await readAll(garbage)).toString(), 'invalid\n');
  const long = await connectRaw(at);
  long.write('connect '.repeat(100));
  assert.equal((await readAll(long)).toString(), 'invalid\n');
  for (const begin of ['connect i', '']) {
    const slow = await connectRaw(at);
    slow.write(begin);
    slow.resume();
    await new Promise((resolve) => slow.on('close', resolve));
  }
  await until(() => port.counts().connections === 0, 'all are gone');
});

test('connections are bounded: those that have not shown who they are, and those of one machine', async () => {
  const { at, port, client, instances } = await setUp({
    handshakes: 20,
    handshakesPerAddress: 8,
    connectionsPerMachine: 3,
    handshakeMs: 10_000,
  });
  instances.set('i', await listen(echo));
  const flood = Array.from({ length: 100 }, () => net.connect(at));
  let closed = 0;
  for (const socket of flood) {
    socket.on('error', () => undefined);
    socket.on('close', () => {
      closed += 1;
    });
  }
  await until(() => closed === 92, 'all but eight are turned away');
  assert.equal(port.counts().handshakes, 8);
  for (const socket of flood) socket.destroy();
  await until(() => port.counts().handshakes === 0, 'the others are forgotten');
  const open = [await client.connect(at, asks, 2_000), await client.connect(at, asks, 2_000), await client.connect(at, asks, 2_000)];
  assert.match(await refusal(client.connect(at, asks, 2_000)), /too many connections/u);
  open.pop()?.destroy();
  await until(() => port.counts().connections === 2, 'there is room again');
  open.push(await client.connect(at, asks, 2_000));
  for (const socket of open) socket.destroy();
});

test('a slow reader holds the other side up instead of filling the memory, in both directions', async () => {
  const { client, at, instances } = await setUp();
  const total = 64 * 1024 * 1024;
  const size = 64 * 1024;
  const fill = (socket: Socket): (() => number) => {
    let sent = 0;
    const more = (): void => {
      while (sent < total) {
        const piece = Buffer.alloc(size, (sent / size) % 251);
        sent += size;
        if (!socket.write(piece)) return;
      }
      socket.end();
    };
    socket.on('drain', more);
    more();
    return () => sent;
  };
  /** All of it, and in its place. */
  const drained = async (socket: Socket): Promise<number> => {
    const all = await readAll(socket);
    for (let at = 0; at < all.length; at += size)
      assert.ok(all.subarray(at, at + size).equals(Buffer.alloc(size, (at / size) % 251)), `what was sent at ${at}`);
    return all.length;
  };
  /** So much is on its way when nobody reads: it no longer grows. */
  const standstill = async (sent: () => number): Promise<number> => {
    let before = -1;
    let same = 0;
    while (same < 20) {
      same = sent() === before ? same + 1 : 0;
      before = sent();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return before;
  };
  let fromInstance = (): number => 0;
  instances.set(
    'i',
    await listen((socket) => {
      fromInstance = fill(socket);
    }),
  );
  const reading = await client.connect(at, asks, 2_000);
  const held = await standstill(() => fromInstance());
  assert.ok(held > 0 && held < total / 2, `${held} bytes are on their way`);
  assert.equal(await drained(reading), total);
  reading.destroy();

  const slow = Promise.withResolvers<Socket>();
  instances.set('i', await listen((socket) => slow.resolve(socket.pause())));
  const writing = await client.connect(at, asks, 2_000);
  const sent = fill(writing);
  const instance = await slow.promise;
  const heldThere = await standstill(sent);
  assert.ok(heldThere > 0 && heldThere < total / 2, `${heldThere} bytes are on their way`);
  assert.equal(await drained(instance), total);
  writing.destroy();
});

test('certificates are replaced under running connections, which go on', async () => {
  let identity = edge;
  const { client, at, instances, port, setIdentity } = await setUp({}, () => identity);
  instances.set('i', await listen(echo));
  const before = await client.connect(at, asks, 2_000);
  const resumed = await client.connect(at, asks, 2_000);
  assert.equal(resumed.isSessionReused(), true, 'the second connection takes up the session of the first');
  const shown = before.getPeerX509Certificate()?.fingerprint256;
  setIdentity(authority.issueMachine(nodeId, ['node']));
  port.renew();
  const after = await client.connect(at, asks, 2_000);
  assert.notEqual(after.getPeerX509Certificate()?.fingerprint256, shown);
  identity = authority.issueMachine(edgeId);
  const renewed = await client.connect(at, asks, 2_000);
  assert.equal(renewed.isSessionReused(), false, 'a session stands for the certificate that it began with');
  for (const socket of [before, resumed, after, renewed]) {
    socket.end('still there');
    assert.equal((await readAll(socket)).toString(), 'still there');
  }
  // Another authority: who knows the new one only comes in, and nobody else.
  const other = makeAuthority();
  setIdentity(other.issueMachine(nodeId, ['node']));
  port.renew();
  assert.match(await refusal(client.connect(at, asks, 2_000)), /unreachable/u);
  identity = other.issueMachine(edgeId);
  assert.equal(await refusal(client.connect(at, asks, 2_000)), 'it was let in');
});

test('a session is worth no more than the certificate that it began with', async () => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  const { client, at, instances, port } = await setUp({}, () => edge, clock);
  instances.set('i', await listen(echo));
  const first = await client.connect(at, asks, 2_000);
  await until(() => port.counts().connections === 1, 'it is in');
  // To the library a session that is resumed is one that was checked when it began.
  aheadMs = 7 * 86_400_000;
  assert.match(await refusal(client.connect(at, asks, 2_000)), /may not reach Instances there/u);
  aheadMs = 0;
  const again = await client.connect(at, asks, 2_000);
  assert.equal(again.isSessionReused(), true);
  for (const socket of [first, again]) socket.destroy();
});

test('a machine that is removed is cut off at once, also with a session to take up', async () => {
  const { client, at, instances, port, edges } = await setUp();
  instances.set('i', await listen(echo));
  const socket = await client.connect(at, asks, 2_000);
  edges.delete(edgeId);
  port.recheck();
  await assert.rejects(readAll(socket), /ECONNRESET/u);
  assert.match(await refusal(client.connect(at, asks, 2_000)), /may not reach Instances there/u);
});

test('200 streams of random sizes at once come back as they went', async () => {
  const { client, at, instances, port } = await setUp();
  instances.set('i', await listen(echo));
  const random = createSeededRandom(20_261);
  const streams = Array.from({ length: 200 }, () => random.bytes(Math.floor(random.next() ** 3 * 400_000)));
  const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  await Promise.all(
    streams.map(async (bytes, index) => {
      const got = createHash('sha256');
      const onRead = (piece: Buffer): void => void got.update(piece);
      const socket = await client.connect(at, asks, 20_000, index % 2 === 0 ? { onRead } : undefined);
      if (index % 2 === 0) socket.resume();
      else socket.on('data', onRead);
      const ended = once(socket, 'end');
      for (let from = 0; from < bytes.length;) {
        const to = from + 1 + Math.floor(random.next() * 60_000);
        if (!socket.write(bytes.subarray(from, to))) await once(socket, 'drain');
        from = to;
      }
      socket.end();
      await ended;
      assert.equal(got.digest('hex'), digest(bytes));
    }),
  );
  client.stop();
  await until(() => port.counts().connections === 0, 'all are over on the other side');
});

test('a port that stops lets go of everything', async () => {
  const { client, at, instances, port } = await setUp();
  instances.set('i', await listen(echo));
  const socket = await client.connect(at, asks, 2_000);
  const idle = net.connect(at);
  idle.on('error', () => undefined);
  await until(() => port.counts().handshakes === 1, 'somebody is about to shake hands');
  const gone = Promise.all([once(idle, 'close'), assert.rejects(readAll(socket))]);
  await port.stop();
  await gone;
  assert.deepEqual(port.counts(), { connections: 0, handshakes: 0 });
  assert.match(await refusal(client.connect(at, asks, 2_000)), /ECONNREFUSED/u);
});
