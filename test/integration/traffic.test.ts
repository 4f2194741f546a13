// The manifest's `traffic` from the file to the Instances, with the real processes: a client that stays, turns, and what a
// plan says of them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform } from '../platform.ts';

const HOST = 'shop.localhost';

describe('how an App wants its requests spread', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  const slotOf = async (cookie?: string): Promise<{ readonly slot: string; readonly cookie: string | undefined }> => {
    const reply = await platform.get(HOST, '/env', { headers: cookie === undefined ? {} : { cookie } });
    assert.equal(reply.status, 200, reply.body);
    const found = (JSON.parse(reply.body) as Record<string, string>)['LIBRA_SLOT']; // what the test's server writes
    return { slot: found ?? '', cookie: reply.headers['set-cookie']?.[0]?.split(';')[0] };
  };
  const deploy = async (text: string, traffic: string): Promise<void> => {
    const folder = writeApp(
      platform,
      'shop',
      serverApp({
        text,
        instances: 3,
        web: [`traffic: ${traffic}`],
      }),
    );
    const result = await platform.cli('deploy', folder);
    assert.equal(result.code, 0, result.stderr + result.stdout);
  };

  test('clients stay with their Instance, new ones are spread, and a deploy says what a policy changes', async () => {
    await deploy('one', '{ balance: sticky }');
    const slots = new Set<string>();
    for (let client = 0; client < 6; client += 1) {
      const first = await slotOf();
      assert.match(first.cookie ?? '', /^libra_instance=[\w-]{22}$/u);
      slots.add(first.slot);
      for (let round = 0; round < 5; round += 1) {
        const again = await slotOf(first.cookie);
        assert.deepEqual([again.slot, again.cookie], [first.slot, undefined]);
      }
    }
    assert.ok(slots.size >= 2, [...slots].join());
    const plan = await platform.cli(
      'plan',
      writeApp(platform, 'shop', serverApp({ text: 'one', instances: 3, web: ['traffic: { balance: round-robin }'] })),
    );
    assert.match(plan.stdout, /entrypoints\.web\.traffic\.balance/u);
  });

  test('a policy that changes with a Release is in force with it', async () => {
    await deploy('two', '{ balance: round-robin, slowStart: 0s }');
    const seen: string[] = [];
    for (let round = 0; round < 9; round += 1) {
      const { slot, cookie } = await slotOf();
      assert.equal(cookie, undefined);
      seen.push(slot);
    }
    const counts = new Map<string, number>();
    for (const slot of seen) counts.set(slot, (counts.get(slot) ?? 0) + 1);
    assert.deepEqual([...counts.values()], [3, 3, 3]);
  });
});
