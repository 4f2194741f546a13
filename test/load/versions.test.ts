// Two versions under load with the real processes: the share is met over very many requests, and a user who was shown the new version
// never sees the old one again, however the share grows and while it is promoted.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { keepConnection } from '../fixtures/kept-connection.ts';
import type { KeptConnection } from '../fixtures/kept-connection.ts';
import { sized } from '../full-size.ts';
import { Platform, until } from '../platform.ts';

const HOST = 'shop.localhost';
const REQUESTS = sized({ usual: 20_000, full: 100_000 });
/** Five standard deviations of a share of a tenth; half a point for a hundred thousand requests. */
const TOLERANCE = (5 * 100 * Math.sqrt((0.1 * 0.9) / REQUESTS)).toFixed(1);
const CONNECTIONS = 32;
const USERS = 400;

describe('two versions under load', () => {
  const platform = new Platform();
  const open: KeptConnection[] = [];
  before(() => platform.start());
  after(async () => {
    for (const connection of open) connection.close();
    await platform.dispose();
  });

  const deploy = async (text: string, ...words: readonly string[]): Promise<void> => {
    const folder = writeApp(platform, 'shop', serverApp({ text, instances: 3 }));
    const result = await platform.cli('deploy', folder, ...words);
    assert.equal(result.code, 0, result.stderr + result.stdout);
  };
  const connection = async (): Promise<KeptConnection> => {
    const made = await keepConnection(platform.edgePort, HOST);
    open.push(made);
    return made;
  };

  test(`of ${REQUESTS} requests the canary gets its share within ${TOLERANCE} points`, async (t) => {
    await deploy('one');
    await deploy('two', '--canary', '10%');
    let asked = 0;
    let canary = 0;
    const began = performance.now();
    const loop = async (): Promise<void> => {
      const client = await connection();
      while (asked < REQUESTS) {
        asked += 1;
        const { status, body } = await client.get();
        assert.equal(status, 200, body);
        if (body === 'two') canary += 1;
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, loop));
    const share = (100 * canary) / asked;
    t.diagnostic(`${share.toFixed(3)} % of ${asked} requests, ${Math.round(asked / ((performance.now() - began) / 1000))} a second`);
    assert.ok(Math.abs(share - 10) <= Number(TOLERANCE), `${share} %`);
    assert.equal((await platform.cli('abort', '-a', 'shop')).code, 0);
  });

  test('users stay with the version that they were shown while the share grows and while it is promoted', async (t) => {
    await deploy('three', '--canary', '10%', '--sticky', 'cookie');
    const users: { cookie: string; seen: string; answers: number }[] = [];
    const flips: string[] = [];
    let running = true;
    const loop = async (first: number): Promise<void> => {
      const client = await connection();
      while (running) {
        for (let index = first; index < USERS && running; index += CONNECTIONS) {
          const user = (users[index] ??= { cookie: '', seen: '', answers: 0 });
          const { status, head, body } = await client.get(user.cookie === '' ? '' : `Cookie: a=b; ${user.cookie}\r\n`);
          assert.equal(status, 200, body);
          const set = /\r\nset-cookie: (libra_user=[^;]+)/iu.exec(head)?.[1];
          if (set !== undefined && user.cookie !== '') flips.push(`user ${index} was named anew`);
          user.cookie = set ?? user.cookie;
          if (user.seen === 'three' && body !== 'three') flips.push(`user ${index} saw ${user.seen}, then ${body}`);
          user.seen = body;
          user.answers += 1;
        }
      }
    };
    const loops = Promise.all(Array.from({ length: CONNECTIONS }, (_unused, first) => loop(first)));
    const share = (): number => (100 * users.filter((user) => user.seen === 'three').length) / USERS;
    const rounds = async (): Promise<void> => {
      const before = users.map((user) => user.answers);
      await until(
        'everybody has asked twice',
        20_000,
        () => before.length === USERS && users.every((user, index) => user.answers >= (before[index] ?? 0) + 2),
      );
    };
    await until('everybody has asked', 20_000, () => users.filter((user) => user.cookie !== '').length === USERS);
    const shares = [share()];
    try {
      for (const words of [['--to', '50%'], ['--to', '80%'], []]) {
        const result = await platform.cli('promote', ...words, '-a', 'shop');
        assert.equal(result.code, 0, result.stderr);
        await rounds();
        shares.push(share());
      }
    } finally {
      running = false;
      await loops;
    }
    t.diagnostic(
      `shares of users: ${shares.map((one) => `${one.toFixed(1)} %`).join(', ')}; ${users.reduce((sum, user) => sum + user.answers, 0)} requests`,
    );
    assert.deepEqual(flips, []);
    for (const [index, wanted] of [10, 50, 80, 100].entries()) {
      // Of 400 users: three standard deviations are at most 7.5 points.
      assert.ok(Math.abs((shares[index] ?? 0) - wanted) <= (wanted === 100 ? 0 : 8), `${shares[index]} % instead of ${wanted} %`);
    }
  });
});
