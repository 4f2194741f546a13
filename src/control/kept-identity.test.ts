import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { silentLog } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { keepIdentity } from './kept-identity.ts';

const DAY_MS = 86_400_000;

test('what a machine shows is made anew when half of its time is over, and not before', async () => {
  const clock = createFakeClock();
  let issued = 0;
  const renewed: string[] = [];
  const kept = keepIdentity({
    issue: () => {
      issued += 1;
      const identity: MachineIdentity = { nodeId: `${issued}`, authorityPem: '', certificatePem: '', keyPem: '' };
      return { identity, untilMs: clock.now() + 30 * DAY_MS };
    },
    onRenewed: ({ nodeId }) => renewed.push(nodeId),
    clock,
    log: silentLog,
  });
  assert.equal(kept.first.nodeId, '1');
  await clock.advance(14 * DAY_MS);
  assert.deepEqual(renewed, []);
  await clock.advance(2 * DAY_MS);
  assert.deepEqual(renewed, ['2']);
  await clock.advance(16 * DAY_MS);
  assert.deepEqual(renewed, ['2', '3']);
  await kept.stop();
  await clock.advance(40 * DAY_MS);
  assert.equal(issued, 3);
});
