import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { entryHeader, TAR_END, tarPadding } from './bundle-tar.ts';
import type { EntryFields } from './bundle-tar.ts';
import { packCopy, readCopy, writeCopy } from './copy-tar.ts';
import { unpackCopy } from './copy-unpack.ts';
import type { CopyReport } from './copy-unpack.ts';
import { openFolder } from './open-folder.ts';

interface World {
  readonly from: string;
  readonly to: string;
  readonly leftOut: string[];
  /** Packs what is at a name below `from`. */
  readonly pack: (name: string, owner?: number | null) => AsyncGenerator<Uint8Array>;
  /** Unpacks into `to`. */
  readonly unpack: (tar: AsyncIterable<Uint8Array>, as?: string | null) => Promise<CopyReport>;
}

async function withFolders(run: (world: World) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'libra-copy-'));
  const [from, to] = [join(root, 'from'), join(root, 'to')];
  await mkdir(from);
  await mkdir(to);
  const leftOut: string[] = [];
  const leaveOut = (path: string, why: string): void => void leftOut.push(`${path} ${why}`);
  try {
    await run({
      from,
      to,
      leftOut,
      pack: async function* pack(name, owner = null) {
        const folder = await openFolder(from);
        try {
          yield* packCopy(folder, name, { as: name, owner, leaveOut });
        } finally {
          await folder.handle.close();
        }
      },
      unpack: async (tar, as = null) => {
        const folder = await openFolder(to);
        try {
          return await unpackCopy(readCopy(tar, { as, leaveOut }), folder, null);
        } finally {
          await folder.handle.close();
        }
      },
    });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function* toStream(bytes: Uint8Array) {
  yield bytes;
}

/** A tar as an enemy would make it. */
type Entry = Partial<EntryFields> & { readonly name: string; readonly text?: string };
async function* archive(...entries: readonly Entry[]) {
  for (const { text = '', ...fields } of entries) {
    yield entryHeader({ kind: 'file', mode: 0o644, target: '', ...fields, sizeBytes: Buffer.byteLength(text) });
    yield Buffer.from(text);
    yield tarPadding(Buffer.byteLength(text));
  }
  yield TAR_END;
}

test('folders come with all in them: contents, modes, times, links, empty folders, long names', () =>
  withFolders(async ({ from, to, leftOut, pack, unpack }) => {
    const long = 'x'.repeat(200);
    await mkdir(join(from, 'app/empty'), { recursive: true, mode: 0o750 });
    await mkdir(join(from, 'app/closed'));
    await writeFile(join(from, 'app/closed/inside'), 'kept');
    await writeFile(join(from, 'app', long), Buffer.alloc(300_000, 7));
    await writeFile(join(from, 'app/run'), 'echo', { mode: 0o755 });
    await chmod(join(from, 'app/run'), 0o4751);
    await symlink('run', join(from, 'app/link'));
    await chmod(join(from, 'app/closed'), 0o550);
    const report = await unpack(pack('app'), 'copy');
    assert.deepEqual([report, leftOut], [{ files: 4, bytes: 300_008 }, []]);
    const copy = join(to, 'copy');
    assert.deepEqual((await readdir(copy)).sort(), ['closed', 'empty', 'link', 'run', long]);
    assert.ok((await readFile(join(copy, long))).equals(Buffer.alloc(300_000, 7)));
    assert.equal(await readlink(join(copy, 'link')), 'run');
    const modes = await Promise.all(
      ['run', 'empty', 'closed'].map(async (name) => ((await stat(join(copy, name))).mode & 0o7777).toString(8)),
    );
    assert.deepEqual(modes, ['751', '750', '550'], 'without the bit that lends out rights');
    const [before, after] = await Promise.all([stat(join(from, 'app/run')), stat(join(copy, 'run'))]);
    assert.equal(Math.floor(before.mtimeMs / 1000), Math.floor(after.mtimeMs / 1000));
    await chmod(join(from, 'app/closed'), 0o755);
    await chmod(join(copy, 'closed'), 0o755);
  }));

test('a copy goes over what is there, and takes nothing away', () =>
  withFolders(async ({ from, to, pack, unpack }) => {
    await mkdir(join(from, 'data'));
    await writeFile(join(from, 'data/a'), 'new');
    await mkdir(join(to, 'data'), { mode: 0o700 });
    await writeFile(join(to, 'data/a'), 'old');
    await writeFile(join(to, 'data/b'), 'stays');
    await unpack(pack('data'));
    assert.deepEqual([await readFile(join(to, 'data/a'), 'utf8'), await readFile(join(to, 'data/b'), 'utf8')], ['new', 'stays']);
    assert.equal((await stat(join(to, 'data'))).mode & 0o777, 0o700, 'a folder that was there keeps its mode');
  }));

test('what is no file is left out and told, and so is what belongs to somebody else', () =>
  withFolders(async ({ from, to, leftOut, pack, unpack }) => {
    await mkdir(join(from, 'data'));
    execFileSync('mkfifo', [join(from, 'data/pipe')]);
    await writeFile(join(from, 'data/a'), 'a');
    await unpack(pack('data'));
    assert.deepEqual(leftOut, ['data/pipe is neither a file nor a folder nor a link']);
    assert.deepEqual(await readdir(join(to, 'data')), ['a']);
    leftOut.length = 0;
    await unpack(pack('data', 4_000_000));
    assert.deepEqual(leftOut, ['data does not belong to the App']);
  }));

test('what a program takes away while its folder is copied is left out, and the rest comes', () =>
  withFolders(async ({ from, to, leftOut, pack, unpack }) => {
    await mkdir(join(from, 'data'));
    for (const name of ['a', 'b', 'c']) await writeFile(join(from, 'data', name), name);
    // The second name is no text: what it reads as is not there.
    await writeFile(Buffer.concat([Buffer.from(join(from, 'data/bad')), Buffer.of(0xff)]), 'x');
    async function* losing() {
      for await (const chunk of pack('data')) {
        yield chunk;
        if (Buffer.from(chunk).toString('latin1', 0, 6) === 'data/a') await rm(join(from, 'data/b'));
      }
    }
    await unpack(losing());
    assert.deepEqual((await readdir(join(to, 'data'))).sort(), ['a', 'c']);
    assert.deepEqual(
      leftOut.map((text) => text.slice(0, 8)),
      ['data/b w', 'data/bad'],
    );
    await assert.rejects(unpack(pack('none')), /ENOENT/u);
  }));

test('links that lead out are left out, whatever they go through, and nothing is written through a link', () =>
  withFolders(async ({ to, leftOut, unpack }) => {
    const link = (name: string, target: string) => ({ name, target, kind: 'link' }) as const;
    await unpack(
      archive({ name: 'd', kind: 'folder' }, link('d/up', '..'), link('d/abs', '/etc'), link('d/two', 'up/..'), link('d/in', 'x')),
    );
    assert.deepEqual(
      leftOut.map((text) => text.split(' ')[0]),
      ['d/abs', 'd/two'],
    );
    assert.deepEqual((await readdir(join(to, 'd'))).sort(), ['in', 'up']);
    await symlink(tmpdir(), join(to, 'elsewhere'));
    await assert.rejects(unpack(archive({ name: 'elsewhere/libra-witness', text: 'x' })), (error) => isFailure(error, 'storage_failed'));
    await assert.rejects(lstat(join(tmpdir(), 'libra-witness')));
    await assert.rejects(unpack(archive({ name: 'd/up/witness', text: 'x' })), (error) => isFailure(error, 'storage_failed'));
  }));

test('what is copied under a name has no link to what lies beside it', () =>
  withFolders(async ({ to, leftOut, unpack }) => {
    const link = (name: string, target: string) => ({ name, target, kind: 'link' }) as const;
    await unpack(
      archive(
        { name: 'd', kind: 'folder' },
        { name: 'd/deep', kind: 'folder' },
        link('d/beside', '../.ssh/key'),
        link('d/up', 'deep/..'),
        link('d/two', 'up/../.ssh/key'),
        link('d/deep/three', '../../copy/x'),
        link('d/deep/in', '../x'),
      ),
      'copy',
    );
    assert.deepEqual(
      leftOut.map((text) => text.split(' ')[0]),
      ['copy/beside', 'copy/two', 'copy/deep/three'],
    );
    assert.deepEqual([(await readdir(join(to, 'copy'))).sort(), await readdir(join(to, 'copy/deep'))], [['deep', 'up'], ['in']]);
    leftOut.length = 0;
    await unpack(archive(link('d', '.ssh/key')), 'alone');
    assert.deepEqual([leftOut.length, await readdir(to)], [1, ['copy']]);
  }));

test('a time that is none is not the end of a copy', () =>
  withFolders(async ({ to, unpack }) => {
    async function* timeless() {
      const record = '15 mtime=1e300\n';
      const body = Buffer.concat([Buffer.from(record), tarPadding(record.length)]);
      const pax = Buffer.from(entryHeader({ name: 'pax', kind: 'file', mode: 0o644, sizeBytes: record.length, target: '' }));
      pax.write('x', 156, 'latin1');
      pax.fill(' ', 148, 156);
      pax.write(
        `${pax
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, '0')}\u0000 `,
        148,
        'latin1',
      );
      yield Buffer.concat([pax, body]);
      yield* archive({ name: 'a', text: 'x' });
    }
    await unpack(timeless());
    assert.equal(await readFile(join(to, 'a'), 'utf8'), 'x');
  }));

const HOSTILE: Readonly<Record<string, readonly Entry[]>> = {
  'a path with dots': [{ name: 'a/../../b', text: 'x' }],
  'an absolute path': [{ name: '/tmp/x', text: 'x' }],
  'a hard link to the outside': [{ name: 'a', kind: 'hardlink', target: '../../etc/passwd' }],
  'a hard link to a link': [
    { name: 'l', kind: 'link', target: '/etc/passwd' },
    { name: 'a', kind: 'hardlink', target: 'l' },
  ],
};
for (const [what, entries] of Object.entries(HOSTILE)) {
  test(`${what} is refused`, () =>
    withFolders(async ({ to, unpack }) => {
      await assert.rejects(unpack(archive(...entries)), (error) => isFailure(error, 'bundle_invalid'));
      assert.deepEqual(await readdir(to), []);
    }));
}

test('entries that do not begin with one name cannot get another', () =>
  withFolders(async ({ unpack }) => {
    await assert.rejects(unpack(archive({ name: 'a/x' }, { name: 'b/x' }), 'c'), /does not begin with a/u);
  }));

test('a copy that breaks off leaves whole files, and no other', () =>
  withFolders(async ({ to, unpack }) => {
    async function* broken() {
      yield entryHeader({ name: 'a', kind: 'file', mode: 0o644, sizeBytes: 512, target: '' });
      yield Buffer.alloc(512, 'w');
      yield entryHeader({ name: 'b', kind: 'file', mode: 0o644, sizeBytes: 1000, target: '' });
      yield Buffer.alloc(100);
      throw new Error('the line is dead');
    }
    await assert.rejects(unpack(broken()), /the line is dead/u);
    assert.deepEqual(await readdir(to), ['a']);
    assert.equal((await readFile(join(to, 'a'))).length, 512);
  }));

test('a copy is a tar that tar reads, and what it writes is read', () =>
  withFolders(async ({ from, to, pack, unpack }) => {
    await mkdir(join(from, 'data'));
    await writeFile(join(from, 'data/a'), 'text');
    execFileSync('ln', [join(from, 'data/a'), join(from, 'data/b')]);
    const theirs = execFileSync('tar', ['-C', from, '-c', 'data']);
    const again = writeCopy(readCopy(toStream(theirs), { as: 'copy', leaveOut: () => undefined }), { uid: 3_000_000, gid: 7 });
    const chunks: Uint8Array[] = [];
    for await (const chunk of again) chunks.push(chunk);
    const listed = execFileSync('tar', ['-tv', '--numeric-owner'], { input: Buffer.concat(chunks), encoding: 'utf8' });
    assert.match(listed, /3000000\/7 +4 .* copy\/(?:a|b)\n[\s\S]*copy\/(?:a|b) link to copy\/(?:a|b)/u);
    await unpack(toStream(theirs));
    assert.equal((await stat(join(to, 'data/a'))).ino, (await stat(join(to, 'data/b'))).ino);
    const ours: Uint8Array[] = [];
    for await (const chunk of pack('data')) ours.push(chunk);
    assert.match(execFileSync('tar', ['-t'], { input: Buffer.concat(ours), encoding: 'utf8' }), /^data\/\ndata\/a\ndata\/b\n$/u);
  }));
