import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { createPortAllocator } from './ports.ts';
import type { PortAllocator } from './ports.ts';

let folder = '';
const clock = createFakeClock();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'libra-ports-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const allocator = (first: number, last: number): PortAllocator =>
  createPortAllocator({ file: join(folder, 'ports.json'), first, last, clock });

function listen(port: number, host: string): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}

test('many at once get different ports of the range, and the same key the same', async () => {
  const ports = allocator(29_100, 29_139);
  const given = await Promise.all(Array.from({ length: 30 }, (_, index) => ports.allocate(`key-${index}`)));
  assert.equal(new Set(given).size, 30);
  assert.ok(given.every((port) => port >= 29_100 && port <= 29_139));
  assert.equal(await ports.allocate('key-7'), given[7]);
});

test('what was given survives a restart, and is released for others', async () => {
  const port = await allocator(29_140, 29_141).allocate('a');
  const ports = allocator(29_140, 29_141);
  assert.equal(ports.portOf('a'), port);
  const other = await ports.allocate('b');
  assert.notEqual(other, port);
  await assert.rejects(ports.allocate('c'), { code: 'no_capacity' });
  ports.retain(new Set(['b']));
  assert.equal(await ports.allocate('c'), port);
});

test('a released port rests while others are free', async () => {
  const ports = allocator(29_142, 29_144);
  const first = await ports.allocate('a');
  ports.release('a');
  const next = [await ports.allocate('b'), await ports.allocate('c')];
  assert.ok(!next.includes(first));
});

for (const host of ['127.0.0.1', '0.0.0.0', '::']) {
  test(`a port that a stranger listens on at ${host} is passed over, and refused when asked for`, async (t) => {
    const stranger = await listen(29_150, host);
    t.after(() => stranger.close());
    const ports = allocator(29_150, 29_151);
    assert.equal(await ports.allocate('a'), 29_151);
    await assert.rejects(ports.claim('b', 29_150), { code: 'port_taken' });
    await assert.rejects(ports.claim('b', 29_151), { code: 'port_taken' });
  });
}

test('a fixed port outside of the range is claimed once', async () => {
  const ports = allocator(29_160, 29_161);
  await ports.claim('a', 29_170);
  await ports.claim('a', 29_170);
  await assert.rejects(ports.claim('b', 29_170), { code: 'port_taken' });
  ports.release('a');
  await ports.claim('b', 29_170);
});
