import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { createHash } from 'node:crypto';
import { isFailure } from '../lib/failure.ts';
import { PACK_RESULT, packFolder } from './bundle-pack.ts';
import type { PackOptions } from './bundle-pack.ts';
import { unpackBundle } from './bundle-unpack.ts';

const run = promisify(execFile);

async function tempFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function folderOf(t: TestContext, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await tempFolder(t);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

/** Packs, unpacks, and lists what arrived. */
async function listed(t: TestContext, folder: string, options?: PackOptions): Promise<readonly string[]> {
  const bundle = await packFolder(folder, options);
  t.after(() => bundle.remove());
  const target = join(await tempFolder(t), 'out');
  await unpackBundle(bundle.openStream(), target);
  const entries = await readdir(target, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(target.length + 1))
    .toSorted();
}

async function rejection(promise: Promise<unknown>): Promise<{ readonly code: string; readonly message: string }> {
  try {
    await promise;
  } catch (error) {
    assert.ok(isFailure(error), String(error));
    return { code: error.code, message: error.message };
  }
  return assert.fail('it was accepted');
}

test('equal folders give equal digests, whatever their times, order, owners and masks', async (t) => {
  const one = await folderOf(t, { 'a.txt': '1', 'b/c.txt': '2', 'b.txt': '3', 'ü/é.txt': '4' });
  const two = await folderOf(t, { 'ü/é.txt': '4', 'b.txt': '3', 'b/c.txt': '2', 'a.txt': '1' });
  await utimes(join(two, 'a.txt'), 1, 1);
  await chmod(join(two, 'b.txt'), 0o600);
  const [first, second] = [await packFolder(one), await packFolder(two)];
  t.after(() => Promise.all([first.remove(), second.remove()]));
  assert.equal(first.digest, second.digest);
  assert.equal(first.files, 4);
  const bytes = await readFile(first.path);
  assert.equal(first.digest, `sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  assert.equal(first.sizeBytes, bytes.length);
  await chmod(join(two, 'b.txt'), 0o700);
  const third = await packFolder(two);
  t.after(() => third.remove());
  assert.notEqual(first.digest, third.digest, 'the executable bit counts');
});

test('what is packed comes out the same: contents, executable bits, links, empty folders, long names', async (t) => {
  const long = `${'long-folder-name-'.repeat(5)}/${'ß'.repeat(100)}.txt`;
  const folder = await folderOf(t, { 'run.sh': '#!/bin/sh\n', [long]: 'long', 'big.bin': 'x'.repeat(700_001), empty: '' });
  await chmod(join(folder, 'run.sh'), 0o750);
  await mkdir(join(folder, 'hollow/inner'), { recursive: true });
  await symlink('../run.sh', join(folder, 'hollow/link'));
  await symlink('x'.repeat(150), join(folder, 'long-link'));
  const bundle = await packFolder(folder);
  t.after(() => bundle.remove());
  const target = join(await tempFolder(t), 'deep/out');
  const unpacked = await unpackBundle(bundle.openStream(), target);
  assert.deepEqual(unpacked, { entries: 9, sizeBytes: 10 + 4 + 700_001 });
  assert.equal((await stat(join(target, 'run.sh'))).mode & 0o7777, 0o755);
  assert.equal((await stat(join(target, long))).mode & 0o7777, 0o644);
  assert.equal(await readFile(join(target, 'hollow/link'), 'utf8'), '#!/bin/sh\n');
  assert.ok((await stat(join(target, 'hollow/inner'))).isDirectory());
  const again = await packFolder(target);
  t.after(() => again.remove());
  assert.equal(again.digest, bundle.digest);
});

test('the archive is one that tar reads', async (t) => {
  const folder = await folderOf(t, { 'a.txt': 'hello', [`${'d'.repeat(60)}/${'f'.repeat(60)}.txt`]: 'x' });
  const bundle = await packFolder(folder);
  t.after(() => bundle.remove());
  const { stdout } = await run('tar', ['-tvf', bundle.path, '--full-time', '--numeric-owner'], {
    env: { PATH: process.env['PATH'], TZ: 'UTC' },
  });
  assert.match(stdout, /^-rw-r--r-- 0\/0\s+5 1970-01-01 00:00:00 a\.txt$/mu);
  assert.match(stdout, new RegExp(`${'d'.repeat(60)}/${'f'.repeat(60)}\\.txt$`, 'mu'));
});

test('ignore files count in every folder, and the nearer one wins', async (t) => {
  const folder = await folderOf(t, {
    '.gitignore': '*.log\n/dist\nsecret/*\n!secret/keep\nsub/build\n',
    '.libraignore': '!dist\ndocs/\n',
    'a.log': '',
    'a.txt': '',
    'dist/x.js': '',
    'docs/y.md': '',
    'secret/a': '',
    'secret/keep': '',
    'sub/.gitignore': '!keep.log\n!build\n*.tmp\n',
    'sub/keep.log': '',
    'sub/other.log': '',
    'sub/x.tmp': '',
    'sub/build/out': '',
    'x.tmp': '',
  });
  assert.deepEqual(await listed(t, folder), [
    '.gitignore',
    '.libraignore',
    'a.txt',
    'dist/x.js',
    'secret/keep',
    'sub/.gitignore',
    'sub/build/out',
    'sub/keep.log',
    'x.tmp',
  ]);
});

test('node_modules and .git never come along, except that a build’s result keeps its packages', async (t) => {
  const folder = await folderOf(t, {
    '.gitignore': '!node_modules\n!.git\ndist\n',
    '.git/HEAD': '',
    'node_modules/a/index.js': '',
    'sub/node_modules/b/index.js': '',
    'dist/a.js': '',
    'a.js': '',
  });
  assert.deepEqual(await listed(t, folder), ['.gitignore', 'a.js']);
  assert.deepEqual(await listed(t, folder, PACK_RESULT), [
    '.gitignore',
    'a.js',
    'dist/a.js',
    'node_modules/a/index.js',
    'sub/node_modules/b/index.js',
  ]);
});

test('links that stay inside are kept, absolute ones become relative', async (t) => {
  const folder = await folderOf(t, { 'a/b.txt': 'b', 'c/d.txt': 'd' });
  await symlink(join(folder, 'a/b.txt'), join(folder, 'c/absolute'));
  await symlink('../a', join(folder, 'c/folder'));
  await symlink('nowhere', join(folder, 'broken'));
  const bundle = await packFolder(folder);
  t.after(() => bundle.remove());
  const target = join(await tempFolder(t), 'out');
  await unpackBundle(bundle.openStream(), target);
  assert.equal(await readFile(join(target, 'c/absolute'), 'utf8'), 'b');
  assert.equal(await readFile(join(target, 'c/folder/b.txt'), 'utf8'), 'b');
});

test('links that lead out are refused by name, alone or through each other', async (t) => {
  for (const links of [{ out: '../x' }, { out: '/etc/passwd' }, { 'deep/out': '../../x' }, { 'deep/up': '..', out: 'deep/up/../x' }]) {
    const folder = await folderOf(t, { 'deep/file': '' });
    for (const [path, target] of Object.entries(links)) await symlink(target, join(folder, path));
    const { code, message } = await rejection(packFolder(folder));
    assert.equal(code, 'bundle_invalid');
    assert.match(message, /out is a link that leads out of the folder/u);
  }
});

test('pipes and sockets are refused by name, unless they are ignored', async (t) => {
  const folder = await folderOf(t, { 'a/x': '' });
  await run('mkfifo', [join(folder, 'a/pipe')]);
  assert.deepEqual(await rejection(packFolder(folder)), {
    code: 'bundle_invalid',
    message: 'The entry a/pipe is neither a file nor a folder nor a link (a device, socket or pipe).',
  });
  await rm(join(folder, 'a/pipe'));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(folder, 'a/s.sock'), resolve));
  t.after(() => server.close());
  assert.match((await rejection(packFolder(folder))).message, /a\/s\.sock/u);
  await writeFile(join(folder, '.libraignore'), '*.sock\n');
  assert.deepEqual(await listed(t, folder), ['.libraignore', 'a/x']);
});

test('bounds on count, bytes and path length are named', async (t) => {
  const folder = await folderOf(t, { a: '1234', b: '1234', c: '1234', 'd/e': '' });
  assert.deepEqual(await rejection(packFolder(folder, { limits: { maxEntries: 4 } })), {
    code: 'too_large',
    message: `The folder ${folder} has more than 4 files and folders.`,
  });
  const bytes = await rejection(packFolder(folder, { limits: { maxBytes: 11 } }));
  assert.equal(bytes.code, 'too_large');
  assert.match(bytes.message, /more than 11 bytes; the bound was passed at c/u);
  assert.match((await rejection(packFolder(folder, { limits: { maxPathBytes: 2 } }))).message, /d\/e has a path of more than 2 bytes/u);
});

test('a folder that is not there, and a name that is no UTF-8, are told', async (t) => {
  const folder = await tempFolder(t);
  assert.equal((await rejection(packFolder(join(folder, 'none')))).code, 'not_found');
  await writeFile(Buffer.concat([Buffer.from(`${folder}/bad-`), Buffer.from([0xff])]), '');
  assert.match((await rejection(packFolder(folder))).message, /not UTF-8/u);
});

test('a bundle leaves nothing behind: not when removed, not when refused, not when given up', async (t) => {
  const folder = await folderOf(t, { a: 'x' });
  const temp = await tempFolder(t);
  const bundle = await packFolder(folder, { tempFolder: temp });
  assert.equal((await readdir(temp)).length, 1);
  await bundle.remove();
  await bundle.remove();
  assert.deepEqual(await readdir(temp), []);
  await assert.rejects(packFolder(folder, { tempFolder: temp, signal: AbortSignal.abort(new Error('given up')) }), /given up/u);
  assert.deepEqual(await readdir(temp), []);
});

test('an upload can go on in the middle of the bundle', async (t) => {
  const bundle = await packFolder(await folderOf(t, { a: 'x'.repeat(5000) }));
  t.after(() => bundle.remove());
  const whole = await bundle.openStream().toArray();
  const rest = await bundle.openStream(3000).toArray();
  assert.deepEqual(Buffer.concat(rest), Buffer.concat(whole).subarray(3000));
});
