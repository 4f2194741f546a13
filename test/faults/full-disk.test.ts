// A data folder that is full or read-only: what cannot be written is refused as storage_failed with the reason, running Apps go on
// serving, and with room again everything goes on without a restart.

import assert from 'node:assert/strict';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFailure } from '../../src/lib/failure.ts';
import { newToken } from '../../src/lib/id.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { smallDiskMissing, withSmallDisk } from '../fixtures/small-disk.ts';
import { Platform, until } from '../platform.ts';

/** Node for Apps has its copy in the data folder; that is most of it. */
const DISK_BYTES = 256 * 1024 * 1024;

/** Writes until the disk takes no more byte. */
function fill(file: string): void {
  const descriptor = openSync(file, 'a');
  try {
    for (const piece of [1024 * 1024, 4096, 1]) {
      const block = Buffer.alloc(piece, 1);
      try {
        for (;;) writeSync(descriptor, block);
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error && error.code === 'ENOSPC', String(error));
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    assert.ok(isFailure(error), String(error));
    return error.code;
  }
}

test('a full disk refuses changes, keeps serving, and goes on when there is room', { skip: smallDiskMissing }, () =>
  withSmallDisk({ sizeBytes: DISK_BYTES }, async (disk) => {
    const platform = new Platform({ data: disk.folder });
    const params = { app: 'shop', environment: 'production' };
    const filler = join(disk.folder, 'filler');
    try {
      await platform.start();
      const chatty = serverApp({ text: 'one', before: "setInterval(() => console.log('x'.repeat(4000)), 5);" });
      assert.equal((await platform.cli('deploy', writeApp(platform, 'shop', chatty))).code, 0);
      const next = writeApp(platform, 'next', serverApp({ text: 'two' }));
      const pid = platform.pid;

      fill(filler);
      const set = (value: string): Promise<unknown> =>
        platform.client().env.set({ params, body: { values: { COLOR: value } }, idempotencyKey: newToken('test') });
      const refused = await until('a write is refused', 20_000, async () => {
        // A store may have some pages left in its files; they are used up soon, the last of them by small values: a Deployment is small too.
        let code = 'done';
        for (const size of [60_000, 4_000, 10]) {
          code = await codeOf(set('x'.repeat(size)));
          fill(filler);
        }
        return code === 'done' ? null : code;
      });
      assert.equal(refused, 'storage_failed');
      // Logs that make room for new ones free some of it again and again: it shall be full all the time.
      const filling = setInterval(() => fill(filler), 20);
      const said = await platform.cli('deploy', next);
      clearInterval(filling);
      assert.notEqual(said.code, 0, said.stdout);
      assert.match(said.stderr, /disk .*is full/iu);
      assert.match(said.stderr, /next:/u);

      const answers = await Promise.all(Array.from({ length: 50 }, () => platform.get('shop.localhost')));
      assert.ok(answers.every((reply) => reply.status === 200 && reply.body === 'one'));
      const [instance] = (await platform.client().instances.list({ params, query: { all: false } })).items;
      assert.deepEqual([instance?.healthy, instance?.restarts], [true, 0], 'reading works');

      rmSync(filler);
      await until('writing works again', 20_000, async () => (await codeOf(set('blue'))) === 'done');
      const deployed = await platform.cli('deploy', next);
      assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
      assert.equal((await platform.get('shop.localhost')).body, 'two');
      assert.equal(platform.pid, pid, 'librad was not restarted');

      fill(filler);
      const healthy = async (): Promise<boolean> => {
        const { items } = await platform.client().instances.list({ params, query: { all: false } });
        return items.length === 1 && items[0]?.healthy === true && items[0].restarts > 0;
      };
      const [running] = (await platform.client().instances.list({ params, query: { all: false } })).items;
      assert.ok(running !== undefined && running.pid !== null);
      process.kill(running.pid, 'SIGKILL');
      await until('the Edge tells that nobody is there', 10_000, async () => (await platform.get('shop.localhost')).status === 502);
      rmSync(filler);
      await until('an App that ended on the full disk is back', 40_000, healthy);
      await until('it answers', 10_000, async () => (await platform.get('shop.localhost')).body === 'two');

      fill(filler);
      await platform.kill();
      await assert.rejects(platform.start(), /disk .*is full/iu);
      assert.equal((await platform.get('shop.localhost')).body, 'two', 'the Edge serves without librad');
      rmSync(filler);
      await platform.start();
      await until('all is as it was', 20_000, healthy);
    } finally {
      rmSync(filler, { force: true });
      await platform.dispose();
    }
  }),
);

test('a full or read-only disk at the start is refused with the reason, and taken when it is mended', { skip: smallDiskMissing }, () =>
  withSmallDisk({ sizeBytes: DISK_BYTES }, async (disk) => {
    const platform = new Platform({ data: disk.folder, env: { HOME: disk.folder } });
    const filler = join(disk.folder, 'filler');
    const refusal = async (says: RegExp): Promise<void> => {
      const result = await platform.startFailing();
      assert.equal(result.code, 1, result.stdout + result.stderr);
      assert.match(result.stderr, says);
      assert.match(result.stderr, /next:/u);
      await until('nothing is left running', 10_000, () => platform.processes().length === 0);
    };
    try {
      fill(filler);
      await refusal(/disk .*is full/iu);
      rmSync(filler);
      disk.readOnly();
      await refusal(/read-only/iu);
      disk.writable();
      await platform.start();
      assert.equal((await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'one' })))).code, 0);
      await platform.stop();
      fill(filler);
      await refusal(/disk .*is full/iu);
      rmSync(filler);
      disk.readOnly();
      await refusal(/read-only/iu);
      disk.writable();
      await platform.start();
      await until('what was there is back', 20_000, async () => (await platform.get('shop.localhost')).body === 'one');
    } finally {
      disk.writable();
      rmSync(filler, { force: true });
      await platform.dispose();
    }
  }),
);
