import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededRandom } from '../../lib/id.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { createSealer } from '../config/sealer.ts';
import { createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createKvStore } from './kv-store.ts';
import type { KvStore } from './kv-store.ts';
import { createKvUsage } from './kv-usage.ts';
import type { KvUsage } from './kv-usage.ts';

const ENVIRONMENT = 'environment-1';

async function withUsage(
  body: (on: { context: TestContext; kv: KvStore; usage: KvUsage; pages: () => number }) => Promise<void>,
): Promise<void> {
  const context = await createTestContext();
  try {
    const kv = createKvStore(context, createSealer(new Uint8Array(32), createSeededRandom(1)));
    let pages = 0;
    const counting: KvStore = {
      ...kv,
      page: (...words) => {
        pages += 1;
        return kv.page(...words);
      },
    };
    const limits = { keys: 3, bytes: 1000, valueBytes: 100 };
    const usage = createKvUsage({ kv: counting, clock: context.clock, limits, leads: true, onFull: () => undefined });
    await body({ context, kv, usage, pages: () => pages });
  } finally {
    await context.close();
  }
}

const made = (kv: KvStore, key: string) => kv.made(ENVIRONMENT, key, { plain: Buffer.from('x'), encoding: 'text', ttlMs: undefined });
const one = (kv: KvStore, key: string) => ({ keys: 1, bytes: made(kv, key).bytes });

test('an Environment is counted once, and then reckoned with', () =>
  withUsage(async ({ context, kv, usage, pages }) => {
    for (const key of ['a', 'b'])
      await usage.change(ENVIRONMENT, one(kv, key), () => context.view.commit(...kv.putting(undefined, made(kv, key))));
    assert.deepEqual([await usage.of(ENVIRONMENT), pages()], [{ keys: 2, bytes: 4 }, 1]);
    await context.clock.advance(600_001);
    assert.deepEqual([await usage.of(ENVIRONMENT), pages()], [{ keys: 2, bytes: 4 }, 2]);
  }));

test('what was surely refused is not counted, what may have been done is counted anew', () =>
  withUsage(async ({ context, kv, usage, pages }) => {
    const refused = usage.change(ENVIRONMENT, one(kv, 'a'), () => Promise.reject(new Failure('conflict', { message: 'No.' })));
    await assert.rejects(refused, (error) => isFailure(error, 'conflict'));
    assert.deepEqual([await usage.of(ENVIRONMENT), pages()], [{ keys: 0, bytes: 0 }, 1]);
    const lost = usage.change(ENVIRONMENT, one(kv, 'a'), async () => {
      await context.view.commit(...kv.putting(undefined, made(kv, 'a')));
      throw new Failure('unavailable', { message: 'The answer was lost.' });
    });
    await assert.rejects(lost, (error) => isFailure(error, 'unavailable'));
    assert.deepEqual([await usage.of(ENVIRONMENT), pages()], [{ keys: 1, bytes: 2 }, 2]);
  }));

test('nothing is counted while something is written', () =>
  withUsage(async ({ context, kv, usage, pages }) => {
    let finish = (): void => undefined;
    const slow = usage.change(ENVIRONMENT, one(kv, 'a'), async () => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      await context.view.commit(...kv.putting(undefined, made(kv, 'a')));
    });
    await context.clock.advance(600_001);
    assert.deepEqual([await usage.of(ENVIRONMENT), pages()], [{ keys: 1, bytes: 2 }, 1], 'it counts as if it were done');
    finish();
    await slow;
    assert.deepEqual([await usage.of(ENVIRONMENT), pages()], [{ keys: 1, bytes: 2 }, 2]);
  }));
