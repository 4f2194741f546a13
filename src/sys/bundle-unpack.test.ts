import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { packTar } from 'modern-tar';
import type { TarEntry, TarHeader } from 'modern-tar';
import { Failure, isFailure } from '../lib/failure.ts';
import { findEscapingLink } from './bundle-links.ts';
import { unpackBundle } from './bundle-unpack.ts';
import type { UnpackOptions } from './bundle-unpack.ts';

interface Sandbox {
  /** Holds a witness file and the target; nothing else may appear in it. */
  readonly folder: string;
  readonly target: string;
}

async function sandbox(t: TestContext): Promise<Sandbox> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'witness'), 'untouched');
  return { folder, target: join(folder, 'target') };
}

async function assertNothingOutside({ folder }: Sandbox): Promise<void> {
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name !== 'target'),
    ['witness'],
  );
  assert.equal(await readFile(join(folder, 'witness'), 'utf8'), 'untouched');
  assert.equal((await stat(join(folder, 'witness'))).nlink, 1);
}

function file(name: string, body = 'x', more: Partial<TarHeader> = {}): TarEntry {
  return { header: { name, size: Buffer.byteLength(body), type: 'file', mode: 0o644, mtime: new Date(0), ...more }, body };
}

function special(name: string, type: NonNullable<TarHeader['type']>, linkname = ''): TarEntry {
  return { header: { name, size: 0, type, linkname, mtime: new Date(0) } };
}

async function* chunks(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function refusal(
  box: Sandbox,
  archive: Uint8Array,
  options?: UnpackOptions,
): Promise<{ readonly code: string; readonly message: string }> {
  try {
    await unpackBundle(chunks(archive), box.target, options);
  } catch (error) {
    assert.ok(isFailure(error), String(error));
    await assertNothingOutside(box);
    return { code: error.code, message: error.message };
  }
  return assert.fail('it was accepted');
}

const HOSTILE: Readonly<Record<string, readonly [readonly TarEntry[], RegExp]>> = {
  'a path that climbs out': [[file('../evil')], /\.\.\/evil .*leads out of the folder/u],
  'a path that climbs out in the middle': [[file('a/../../evil')], /a\/\.\.\/\.\.\/evil/u],
  'an absolute path': [[file('/tmp/evil')], /\/tmp\/evil .*absolute path/u],
  'a link to the outside': [[special('out', 'symlink', '../witness')], /out .*leads out of the bundle, to \.\.\/witness/u],
  'a link to an absolute path': [[special('out', 'symlink', '/etc/passwd')], /out .*leads out/u],
  'a chain of links that leads out together': [
    [special('d/up', 'symlink', '..'), special('out', 'symlink', 'd/up/../witness')],
    /out .*leads out/u,
  ],
  'a write through an earlier link': [[special('a', 'symlink', '..'), file('a/witness', 'evil')], /a .*is a link and a folder/u],
  'a write through a link that comes later': [[file('a/witness', 'evil'), special('a', 'symlink', '..')], /a .*twice/u],
  'a file over a link': [[special('a', 'symlink', '../witness'), file('a', 'evil')], /a .*twice/u],
  'a hard link to the outside': [[special('a', 'link', '../witness')], /\.\.\/witness .*leads out/u],
  'a hard link to an absolute path': [[special('a', 'link', '/etc/passwd')], /absolute path/u],
  'a hard link to a link': [[special('l', 'symlink', 'x'), special('a', 'link', 'l')], /a .*hard link to something that is no file/u],
  'a hard link to what is not there': [[special('a', 'link', 'b')], /a .*hard link/u],
  'a character device': [[special('dev/null', 'character-device')], /dev\/null .*character-device/u],
  'a block device': [[special('sda', 'block-device')], /sda .*block-device/u],
  'a pipe': [[special('p', 'fifo')], /p .*fifo/u],
  'a file twice': [[file('a'), file('a')], /a .*twice/u],
  'a file twice under two spellings': [[file('a/b'), file('./a//b')], /a\/b .*twice/u],
  'a file that is a folder too': [[file('a'), file('a/b')], /a .*is a file and a folder/u],
  'a NUL character in a name': [[file('x', 'x', { pax: { path: 'a\u0000b' } })], /NUL/u],
  'a name too long for any disk': [[file('n'.repeat(300))], /more than 255 bytes/u],
  'a link without a target': [[special('l', 'symlink', '')], /without a usable target/u],
};

for (const [what, [entries, expected]] of Object.entries(HOSTILE)) {
  test(`${what} is refused by name, and nothing outside is touched`, async (t) => {
    const { code, message } = await refusal(await sandbox(t), await packTar(entries));
    assert.equal(code, 'bundle_invalid');
    assert.match(message, expected);
  });
}

test('setuid, sticky and odd bits of a mode do not survive', async (t) => {
  const box = await sandbox(t);
  await unpackBundle(
    chunks(await packTar([file('a', 'x', { mode: 0o6777 }), file('b', 'x', { mode: 0o2666 }), file('c', 'x', { mode: 0 })])),
    box.target,
  );
  const modes = await Promise.all(['a', 'b', 'c'].map(async (name) => (await lstat(join(box.target, name))).mode & 0o7777));
  assert.deepEqual(modes, [0o755, 0o644, 0o644]);
});

test('folders may be named again and after what is in them, and the root may be named', async (t) => {
  const box = await sandbox(t);
  const entries = [
    special('./', 'directory'),
    file('./a/b'),
    special('a/', 'directory'),
    special('a', 'directory'),
    special('c/', 'directory'),
  ];
  assert.deepEqual(await unpackBundle(chunks(await packTar(entries)), box.target), { entries: 4, sizeBytes: 1 });
  assert.deepEqual((await readdir(box.target, { recursive: true })).toSorted(), ['a', 'a/b', 'c']);
});

test('a hard link to a file of the archive is kept', async (t) => {
  const box = await sandbox(t);
  await unpackBundle(chunks(await packTar([file('a', 'same'), special('b/c', 'link', './a')])), box.target);
  assert.equal(await readFile(join(box.target, 'b/c'), 'utf8'), 'same');
});

test('gzip is recognised, in chunks of any size', async (t) => {
  const archive = gzipSync(await packTar([file('a', 'hello')]));
  for (const size of [1, 7, 100_000]) {
    const box = await sandbox(t);
    await unpackBundle(chunks(archive, size), box.target);
    assert.equal(await readFile(join(box.target, 'a'), 'utf8'), 'hello');
  }
});

test('an archive that ends too early is refused, wherever it ends', async (t) => {
  const archive = await packTar([file('a', 'x'.repeat(2000)), file('b', 'y'.repeat(2000))]);
  for (const length of [1, 100, 511, 512, 1000, 3000, 3072, 4000, archive.length - 1024]) {
    assert.equal((await refusal(await sandbox(t), archive.subarray(0, length))).code, 'bundle_invalid', String(length));
  }
  const zipped = gzipSync(archive);
  for (const length of [2, 20, zipped.length - 5]) {
    assert.equal((await refusal(await sandbox(t), zipped.subarray(0, length))).code, 'bundle_invalid', String(length));
  }
});

test('nothing at all, and what is no archive, are refused', async (t) => {
  assert.equal((await refusal(await sandbox(t), new Uint8Array(0))).code, 'bundle_invalid');
  assert.equal((await refusal(await sandbox(t), Buffer.from('hello '.repeat(1000)))).code, 'bundle_invalid');
  assert.equal((await refusal(await sandbox(t), gzipSync(Buffer.from('hello '.repeat(1000))))).code, 'bundle_invalid');
});

test('bounds on entries and bytes hold, before anything beyond them is written', async (t) => {
  const three = await packTar([file('a', '1234'), file('b', '1234'), file('c', '1234')]);
  const box = await sandbox(t);
  assert.deepEqual(await refusal(box, three, { limits: { maxEntries: 2 } }), {
    code: 'too_large',
    message: 'The archive unpacks to more than 2 entries.',
  });
  assert.deepEqual((await readdir(box.target)).toSorted(), ['a', 'b']);
  assert.equal((await refusal(await sandbox(t), three, { limits: { maxBytes: 11 } })).code, 'too_large');
});

test('a gzip bomb ends at the bound on bytes, with or without entries', async (t) => {
  const zeroes = gzipSync(Buffer.alloc(20 * 2 ** 20));
  const noEntries = await refusal(await sandbox(t), zeroes, { limits: { maxBytes: 2 ** 20, maxEntries: 10 } });
  assert.equal(noEntries.code, 'too_large');
  const header = (await packTar([file('big', '')])).slice(0, 512);
  // Announces 8 GiB: refused by its header alone.
  Buffer.from(header.buffer).write('77777777777', 124, 'latin1');
  let sum = 8 * 32;
  for (const [at, byte] of header.entries()) if (at < 148 || at >= 156) sum += byte;
  Buffer.from(header.buffer).write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
  const box = await sandbox(t);
  assert.equal((await refusal(box, Buffer.concat([header, new Uint8Array(100_000)]))).code, 'too_large');
  assert.deepEqual(await readdir(box.target), []);
});

test('a folder that holds something already is refused', async (t) => {
  const box = await sandbox(t);
  await mkdir(box.target);
  await writeFile(join(box.target, 'mine'), '');
  assert.equal((await refusal(box, await packTar([file('a')]))).code, 'exists');
});

test('a source that breaks is told as what it is, not as a damaged bundle', async (t) => {
  const box = await sandbox(t);
  const archive = await packTar([file('a', 'x'.repeat(5000))]);
  async function* broken(): AsyncGenerator<Uint8Array, void, undefined> {
    yield archive.subarray(0, 1000);
    throw new Failure('unreachable', { message: 'The connection broke.' });
  }
  await assert.rejects(unpackBundle(broken(), box.target), (error) => isFailure(error, 'unreachable'));
});

test('unpacking stops when it is told to, and closes its source', async (t) => {
  const box = await sandbox(t);
  const archive = await packTar([file('a', 'x'.repeat(500_000))]);
  const stopping = new AbortController();
  let closed = false;
  async function* endless(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield archive.subarray(0, 100_000);
      stopping.abort(new Error('told to stop'));
      for (;;) {
        await new Promise(setImmediate);
        yield new Uint8Array(10);
      }
    } finally {
      closed = true;
    }
  }
  await assert.rejects(unpackBundle(endless(), box.target, { signal: stopping.signal }), /told to stop/u);
  assert.ok(closed);
});

test('links are followed as the kernel follows them', () => {
  const escaping = (links: Readonly<Record<string, string>>): string | null => findEscapingLink(new Map(Object.entries(links)));
  assert.equal(escaping({ 'a/b': '../c', 'd/e/f': '../../a/b', loop: 'loop', x: '.', y: './/a/' }), null);
  assert.equal(escaping({ 'a/b': '../../c' }), 'a/b');
  assert.equal(escaping({ a: 'b/..', b: 'c/d' }), null);
  assert.equal(escaping({ 'deep/up': '..', a: 'deep/up/..' }), 'a');
  assert.equal(escaping({ a: 'b', b: 'c', c: '..' }), 'a');
});

test('many entangled links are decided soon', () => {
  const links = new Map(Array.from({ length: 20_000 }, (_, index) => [`l${index}`, `${'l0/./'.repeat(180)}l${(index + 1) % 20_000}`]));
  const startedMs = performance.now();
  findEscapingLink(links);
  assert.ok(performance.now() - startedMs < 5000);
});

test('whatever names and links an archive has, nothing outside is ever touched', async (t) => {
  const part = fc.constantFrom('a', 'b', '..', '.', '', 'witness');
  const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const entry = fc.oneof(
    path.map((name) => file(name, 'evil')),
    fc.tuple(path, path).map(([name, target]) => special(name, 'symlink', target)),
    fc.tuple(path, path).map(([name, target]) => special(name, 'link', target)),
    path.map((name) => special(name, 'directory')),
  );
  const box = await sandbox(t);
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 6 }), async (entries) => {
      await rm(box.target, { recursive: true, force: true });
      try {
        await unpackBundle(chunks(await packTar(entries)), box.target);
      } catch (error) {
        assert.ok(isFailure(error), String(error));
        assert.ok(error.code === 'bundle_invalid', `${error.code}: ${error.message}`);
      }
      await assertNothingOutside(box);
    }),
    { numRuns: 300 },
  );
});
