import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../../lib/clock.ts';
import { createVouching, VOUCHED } from './vouch.ts';

const machine = { nodeId: '01a21f34-46ec-7000-b881-fc32c9011a03', key: 'ab'.repeat(32) };

test('who has the master key vouches for a machine, for one call and some minutes, and nobody else does', async () => {
  const clock = createFakeClock();
  const one = createVouching({ masterKey: Buffer.alloc(32, 1), clock });
  const two = createVouching({ masterKey: Buffer.alloc(32, 1), clock });
  const stranger = createVouching({ masterKey: Buffer.alloc(32, 2), clock });
  const headers = { [VOUCHED]: one.vouch(machine, 'GET', '/v1/agent/sync') };
  assert.deepEqual(two.vouched(headers, 'GET', '/v1/agent/sync'), machine);
  assert.equal(two.vouched(headers, 'POST', '/v1/agent/sync'), null);
  assert.equal(two.vouched(headers, 'GET', '/v1/agent/report'), null);
  assert.deepEqual(two.vouched({ [VOUCHED]: one.vouch({ ...machine, nodeId: null }, 'GET', '/') }, 'GET', '/'), {
    ...machine,
    nodeId: null,
  });
  assert.equal(stranger.vouched(headers, 'GET', '/v1/agent/sync'), null);
  assert.equal(two.vouched({ [VOUCHED]: headers[VOUCHED].replace('01a21f34', '01a21f35') }, 'GET', '/v1/agent/sync'), null);
  assert.equal(two.vouched({ [VOUCHED]: 'nonsense' }, 'GET', '/v1/agent/sync'), null);
  assert.equal(two.vouched({}, 'GET', '/v1/agent/sync'), null);
  await clock.advance(400_000);
  assert.equal(two.vouched(headers, 'GET', '/v1/agent/sync'), null);
});
