import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { bindSocket, createListeners } from './listeners.ts';

test('the private handle of Node that we hold sockets with is as we know it', () => {
  const first = bindSocket('127.0.0.1', 0, 2);
  assert.ok(first.handle.fd > 2 && first.port > 0);
  const second = bindSocket('127.0.0.1', first.port, 2);
  assert.equal(second.port, first.port);
  first.handle.close();
  second.handle.close();
});

test('a takeover does not take a port from a program that does not share it', async (t) => {
  const stranger = net.createServer().listen({ host: '127.0.0.1', port: 0 });
  t.after(() => stranger.close());
  await new Promise((resolve) => stranger.once('listening', resolve));
  const address = stranger.address();
  assert.ok(typeof address === 'object' && address !== null);
  const taking = createListeners().listen({ name: 'web', host: '127.0.0.1', port: address.port, takeover: true });
  await assert.rejects(taking, { code: 'port_taken' });
});

test('a port that another process shares by SO_REUSEPORT is still reported as taken', async (t) => {
  const stranger = net.createServer().listen({ host: '127.0.0.1', port: 0, reusePort: true });
  t.after(() => stranger.close());
  await new Promise((resolve) => stranger.once('listening', resolve));
  const address = stranger.address();
  assert.ok(typeof address === 'object' && address !== null);
  const listeners = createListeners();
  await assert.rejects(listeners.listen({ name: 'web', host: '127.0.0.1', port: address.port, takeover: false }), {
    code: 'port_taken',
    details: { host: '127.0.0.1', port: address.port, pid: process.pid, name: 'node' },
  });
});

test('a name is bound once, and given back when it is let go', async () => {
  const listeners = createListeners();
  const ask = { name: 'web', host: '::1', port: 0, takeover: false };
  const [first, second] = await Promise.all([listeners.listen(ask), listeners.listen(ask)]);
  assert.deepEqual(first, second);
  assert.deepEqual(listeners.list(), [{ name: 'web', host: '::1', port: first.port }]);
  await assert.rejects(listeners.listen({ ...ask, port: first.port === 1025 ? 1026 : 1025 }), { code: 'exists' });
  assert.equal(listeners.descriptors(['web']).length, 1);
  listeners.unlisten('web');
  assert.throws(() => listeners.descriptors(['web']), { code: 'not_found' });
  assert.deepEqual(await listeners.listen({ ...ask, port: first.port }), { port: first.port });
  listeners.unlisten('web');
});

test('an address that this machine lacks is refused with the reason', async () => {
  await assert.rejects(createListeners().listen({ name: 'web', host: '192.0.2.1', port: 0, takeover: false }), {
    code: 'start_failed',
    message: 'Cannot listen on 192.0.2.1:0: this machine has no such address.',
  });
});
