// Bundles on disk: fetched once, verified, gone on with after a break, collected; and what may be linked into a work folder.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { packFolder } from '../sys/bundle-pack.ts';
import { createBundleCache } from './bundle-cache.ts';
import type { BundleCache } from './bundle-cache.ts';
import { measureFolder, overQuota } from './disk-quota.ts';
import { linkInto } from './volumes.ts';

const never = new AbortController().signal;

async function folderFor(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-bundles-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

interface Setup {
  readonly folder: string;
  readonly cache: BundleCache;
  readonly digest: string;
  readonly bytes: Buffer;
  readonly fetches: number[];
  serve: (startByte: number) => Readable;
}

async function setup(context: TestContext): Promise<Setup> {
  const folder = await folderFor(context);
  await mkdir(join(folder, 'source'));
  await writeFile(join(folder, 'source/a.txt'), 'a'.repeat(100_000));
  const packed = await packFolder(join(folder, 'source'));
  const bytes = await readFile(packed.path);
  await packed.remove();
  const made: Setup = {
    folder,
    digest: packed.digest,
    bytes,
    fetches: [],
    serve: (startByte) => Readable.from([bytes.subarray(startByte)]),
    cache: createBundleCache({
      folder: join(folder, 'bundles'),
      link: {
        fetchBlob: async (_digest, startByte) => {
          made.fetches.push(startByte);
          return made.serve(startByte);
        },
      },
      clock: createFakeClock(10_000_000),
      maxBytes: 2500,
      maxAgeMs: 1_000_000,
    }),
  };
  return made;
}

test('a bundle is fetched once, however many want it at the same time', async (context) => {
  const { folder, cache, digest, fetches } = await setup(context);
  await Promise.all(['1', '2', '3'].map((name) => cache.unpack(digest, join(folder, name), never)));
  await cache.unpack(digest, join(folder, '4'), never);
  assert.deepEqual(fetches, [0]);
  assert.equal((await readFile(join(folder, '3/a.txt'))).length, 100_000);
});

test('a fetch that broke off goes on where it stopped', async (context) => {
  const made = await setup(context);
  made.serve = () =>
    Readable.from(
      (async function* broken() {
        yield made.bytes.subarray(0, 50_000);
        throw new Failure('unreachable', { message: 'gone' });
      })(),
    );
  await assert.rejects(made.cache.unpack(made.digest, join(made.folder, '1'), never));
  made.serve = (startByte) => Readable.from([made.bytes.subarray(startByte)]);
  await made.cache.unpack(made.digest, join(made.folder, '2'), never);
  assert.equal(made.fetches.length, 2);
  assert.ok((made.fetches[1] ?? 0) > 0);
});

test('a fetch that was killed when all had come asks for nothing more, and one that has too much begins anew', async (context) => {
  const made = await setup(context);
  const part = join(made.folder, 'bundles', `${made.digest.replace(':', '-')}.part`);
  await mkdir(join(made.folder, 'bundles'));
  await writeFile(part, made.bytes);
  assert.equal((await made.cache.open(made.digest, never)).sizeBytes, made.bytes.length);
  assert.deepEqual(made.fetches, []);
  await rm(part.slice(0, -'.part'.length));
  await writeFile(part, Buffer.concat([made.bytes, Buffer.from('x')]));
  const whole = made.serve;
  made.serve = (startByte) => {
    if (startByte >= made.bytes.length) throw new Failure('invalid_input', { message: 'The range is behind the end.' });
    return whole(startByte);
  };
  await assert.rejects(made.cache.open(made.digest, never), (error) => isFailure(error, 'invalid_input'));
  assert.equal((await made.cache.open(made.digest, never)).sizeBytes, made.bytes.length);
  assert.deepEqual(made.fetches, [made.bytes.length + 1, 0]);
});

test('bytes that are not the asked-for ones are never unpacked and not kept', async (context) => {
  const made = await setup(context);
  made.serve = () => Readable.from([Buffer.from('something else')]);
  await assert.rejects(made.cache.unpack(made.digest, join(made.folder, '1'), never), (error) => isFailure(error, 'unreachable'));
  assert.deepEqual(await readdir(join(made.folder, 'bundles')), []);
  made.serve = (startByte) => Readable.from([made.bytes.subarray(startByte)]);
  await made.cache.unpack(made.digest, join(made.folder, '2'), never);
});

test('old bundles go first, then the longest unused until the rest fits', async (context) => {
  const { folder, cache } = await setup(context);
  await mkdir(join(folder, 'bundles'));
  const put = async (name: string, usedSeconds: number): Promise<void> => {
    await writeFile(join(folder, 'bundles', name), 'x'.repeat(1000));
    await utimes(join(folder, 'bundles', name), usedSeconds, usedSeconds);
  };
  await put('old', 8_000);
  await put('first', 9_100);
  await put('second', 9_200);
  await put('third.part', 9_300);
  await cache.collect();
  assert.deepEqual((await readdir(join(folder, 'bundles'))).toSorted(), ['second', 'third.part']);
});

test('a link into the work folder replaces only what is empty, and never follows a link of the bundle', async (context) => {
  const folder = await folderFor(context);
  const work = join(folder, 'work');
  await mkdir(join(work, 'full'), { recursive: true });
  await mkdir(join(work, 'empty'));
  await writeFile(join(work, 'full/file'), 'x');
  await symlink(folder, join(work, 'out'));
  await linkInto(work, '/data/deep', '/target');
  assert.equal(await readlink(join(work, 'data/deep')), '/target');
  await linkInto(work, 'data/deep', '/target2');
  assert.equal(await readlink(join(work, 'data/deep')), '/target2');
  await linkInto(work, '/empty', '/target');
  for (const path of ['/full', '/out/x', '/full/file/x', '/', '.']) {
    await assert.rejects(linkInto(work, path, '/target'), (error) => isFailure(error, 'bundle_invalid'), path);
  }
  await assert.rejects(linkInto(work, '../../x', '/target'), (error) => isFailure(error, 'bundle_invalid'));
  assert.deepEqual(await readdir(folder), ['work']);
});

test('a quota counts what lies in the folder, hard links once and behind symlinks nothing', async (context) => {
  const folder = await folderFor(context);
  await mkdir(join(folder, 'a/b'), { recursive: true });
  await writeFile(join(folder, 'a/b/file'), Buffer.alloc(1_000_000, 1));
  const before = await measureFolder(join(folder, 'a'), never);
  const { link } = await import('node:fs/promises');
  await link(join(folder, 'a/b/file'), join(folder, 'a/again'));
  await symlink('/', join(folder, 'a/root'));
  const after = await measureFolder(join(folder, 'a'), never);
  assert.ok(before >= 1_000_000 && after - before < 20_000);
  const quota = { path: folder, name: 'its folder', bytes: 500_000 };
  assert.match((await overQuota([quota], never)) ?? '', /its folder/u);
  assert.equal(await overQuota([{ ...quota, bytes: 5_000_000 }], never), null);
});
