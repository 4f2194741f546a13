import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { silentLog } from '../sys/log.ts';
import type { Log } from '../sys/log.ts';
import { createVolumeGarbage } from './volume-garbage.ts';
import { createVolumeOwners } from './volume-owners.ts';
import type { VolumeOwners } from './volume-owners.ts';

const HOUR_MS = 3_600_000;
const EVERY_MS = 300_000;
const [GONE, HERE, USED] = [1, 2, 3].map((digit) => `01933b2e-7c5e-7bbd-a5a5-1f0e7b4c9d2${digit}`) as [string, string, string]; // of three

let base = '';
let clock: FakeClock;
let gone: readonly string[] = [];
let asked: string[][] = [];
let used: ReadonlySet<string> = new Set();
let warned: Readonly<Record<string, unknown>>[] = [];
const log: Log = { ...silentLog, warn: (fields) => void warned.push(fields) };
/** As the platform of that name sees it. */
const ownersOf = (platform: string): VolumeOwners => createVolumeOwners(join(base, 'volumes'), () => platform);
beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), 'libra-volumes-'));
  clock = createFakeClock();
  [gone, asked, used, warned] = [[GONE], [], new Set(), []];
  for (const name of [GONE, HERE, USED, 'no-id']) {
    mkdirSync(join(base, 'volumes', name, 'web/0/data'), { recursive: true });
    writeFileSync(join(base, 'volumes', name, 'web/0/data/file'), 'kept');
  }
  for (const name of [GONE, HERE, USED]) await ownersOf('first').claim(name);
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** One pass of an agent that may have been started anew before it. */
async function pass(platform = 'first'): Promise<void> {
  const garbage = createVolumeGarbage({
    root: join(base, 'volumes'),
    file: join(base, 'gone.json'),
    link: {
      goneEnvironments: async (ids) => {
        asked.push([...ids]);
        return ids.filter((id) => gone.includes(id));
      },
    },
    owners: ownersOf(platform),
    isUsed: (id) => used.has(id),
    keepMs: HOUR_MS,
    everyMs: EVERY_MS,
    clock,
    log,
  });
  await garbage.collect(new AbortController().signal);
}
async function passes(count: number, platform = 'first'): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    await pass(platform);
    await clock.advance(EVERY_MS);
  }
}
const isThere = (id: string): boolean => existsSync(join(base, 'volumes', id, 'web/0/data/file'));

test('volumes of what is gone go when their time is over, and no others', async () => {
  await passes(12);
  assert.ok(isThere(GONE));
  await passes(1);
  assert.deepEqual([GONE, HERE, USED, 'no-id'].map(isThere), [false, true, true, true]);
  await passes(1);
  assert.deepEqual(asked.at(-1)?.toSorted(), [HERE, USED]);
});

test('a jump of the clock, or a Node that was off, does not shorten their time', async () => {
  await passes(2);
  await clock.advance(1000 * HOUR_MS);
  await passes(9);
  assert.ok(isThere(GONE));
  await passes(2);
  assert.ok(!isThere(GONE));
});

test('what is there again, or has an Instance here, is kept, and its time begins anew', async () => {
  await passes(11);
  gone = [];
  await passes(1);
  gone = [GONE, USED];
  used = new Set([USED]);
  await passes(12);
  assert.deepEqual([isThere(GONE), isThere(USED)], [true, true]);
  await passes(1);
  assert.deepEqual([isThere(GONE), isThere(USED)], [false, true]);
  assert.ok(asked.slice(12).every((ids) => !ids.includes(USED)));
});

test('while control is away nothing is deleted', async () => {
  await passes(13 - 1);
  const away = createVolumeGarbage({
    root: join(base, 'volumes'),
    file: join(base, 'gone.json'),
    link: {
      goneEnvironments: async () => {
        throw new Failure('unreachable', { message: 'control is away' });
      },
    },
    owners: ownersOf('first'),
    isUsed: () => false,
    keepMs: 0,
    everyMs: EVERY_MS,
    clock,
    log: silentLog,
  });
  await assert.rejects(away.collect(new AbortController().signal), { code: 'unreachable' });
  assert.ok(isThere(GONE));
});

test('another platform that the data folder joins keeps what it never had, and says so; the first one goes on where it was', async () => {
  gone = [GONE, HERE, USED];
  await passes(30, 'second');
  assert.deepEqual([GONE, HERE, USED].map(isThere), [true, true, true]);
  assert.deepEqual(asked, [], 'nor is it asked about them');
  assert.deepEqual(warned[0]?.['environments'], [GONE, HERE, USED]);
  // An Instance that the first one left changes nothing about that.
  await ownersOf('second').make(GONE);
  rmSync(join(base, 'volumes', HERE), { recursive: true });
  await ownersOf('second').make(HERE);
  await passes(13, 'second');
  assert.deepEqual([isThere(GONE), existsSync(join(base, 'volumes', HERE))], [true, false], 'what it made is its own');
  gone = [GONE];
  await passes(13);
  assert.deepEqual([GONE, USED].map(isThere), [false, true]);
});

test('volumes from before owners were remembered are taken for its own where the platform has their Environment, else they are kept', async () => {
  for (const name of [GONE, HERE, USED]) rmSync(join(base, 'volumes', name, '.platform'));
  used = new Set([USED]);
  await passes(30);
  assert.deepEqual([GONE, HERE, USED].map(isThere), [true, true, true]);
  assert.deepEqual(warned[0]?.['environments'], [GONE]);
  const owners = ownersOf('first');
  assert.deepEqual(await Promise.all([GONE, HERE, USED].map(owners.of)), ['unknown', 'own', 'own']);
  // From now on they are known, and go when they are gone.
  used = new Set();
  gone = [GONE, HERE, USED];
  await passes(13);
  assert.deepEqual([GONE, HERE, USED].map(isThere), [true, false, false]);
});
