import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import type { BundleEntry } from '../sys/bundle-scan.ts';
import { parseDockerignore, withoutIgnored } from './dockerignore.ts';

const never = new AbortController().signal;

/** Files by their paths, with the folders around them, a folder before what is in it. */
function entriesOf(paths: readonly string[]): readonly BundleEntry[] {
  const folders = paths.flatMap((path) =>
    path
      .split('/')
      .slice(0, -1)
      .map((_name, at, names) => names.slice(0, at + 1).join('/')),
  );
  return [
    ...[...new Set(folders)].map((path): BundleEntry => ({ kind: 'folder', path })),
    ...paths.map((path): BundleEntry => ({ kind: 'file', path, sizeBytes: 1, executable: false })),
  ].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The files that are left, by a file of these lines. */
async function left(lines: readonly string[], paths: readonly string[], always: readonly string[] = []): Promise<readonly string[]> {
  const rules = parseDockerignore(lines.join('\n'), '.dockerignore');
  const kept = await withoutIgnored(entriesOf(paths), rules, new Set(always), never);
  return kept.filter(({ kind }) => kind === 'file').map(({ path }) => path);
}

test('a pattern counts from the root of the folder, and takes what lies in what it matches', async () => {
  const paths = ['a', 'b/a', 'b/c/a', 'd/a'];
  assert.deepEqual(await left(['a'], paths), ['b/a', 'b/c/a', 'd/a']);
  assert.deepEqual(await left(['/b'], paths), ['a', 'd/a']);
  assert.deepEqual(await left(['b/'], paths), ['a', 'd/a']);
  assert.deepEqual(await left(['./b/./c/../c'], paths), ['a', 'b/a', 'd/a']);
  assert.deepEqual(await left(['*/a'], paths), ['a', 'b/c/a']);
  assert.deepEqual(await left(['.', '/', '', '# a', '  '], paths), paths);
});

test('** is any number of folders, none among them', async () => {
  const paths = ['a.log', 'b/a.log', 'b/c/a.log', 'b/c/d', 'x'];
  assert.deepEqual(await left(['**/*.log'], paths), ['b/c/d', 'x']);
  assert.deepEqual(await left(['b/**'], paths), ['a.log', 'x']);
  assert.deepEqual(await left(['b/**/a.log'], paths), ['a.log', 'b/c/d', 'x']);
  assert.deepEqual(await left(['**/c'], paths), ['a.log', 'b/a.log', 'x']);
  assert.deepEqual(await left(['**'], paths), []);
});

test('the last pattern that matches decides, and ! takes back, inside of a folder too', async () => {
  const paths = ['README.md', 'docs/README.md', 'docs/a.md', 'src/a.ts', 'src/b/c.ts'];
  assert.deepEqual(await left(['**/*.md', '!README.md'], paths), ['README.md', 'src/a.ts', 'src/b/c.ts']);
  assert.deepEqual(await left(['*', '!src'], paths), ['src/a.ts', 'src/b/c.ts']);
  assert.deepEqual(await left(['*', '!src', 'src/b'], paths), ['src/a.ts']);
  assert.deepEqual(await left(['*', '! src/b/*.ts'], paths), ['src/b/c.ts']);
  assert.deepEqual(await left(['!src', '*'], paths), []);
});

test('? and sets are one character of a name, and a backslash takes one as it is', async () => {
  const paths = ['a1', 'a2', 'ab', 'a/1', 'a*', 'a+b', 'a.b', 'axb'];
  assert.deepEqual(await left(['a?'], paths), ['a+b', 'a.b', 'a/1', 'axb']);
  assert.deepEqual(await left(['a[0-9]'], paths), ['a*', 'a+b', 'a.b', 'a/1', 'ab', 'axb']);
  assert.deepEqual(await left(['a[^0-9]'], paths), ['a+b', 'a.b', 'a/1', 'a1', 'a2', 'axb']);
  assert.deepEqual(await left(['a\\*'], paths), ['a+b', 'a.b', 'a/1', 'a1', 'a2', 'ab', 'axb']);
  assert.deepEqual(await left(['*a.b', '*+b'], paths), ['a*', 'a/1', 'a1', 'a2', 'ab', 'axb']);
});

test('what the builder reads itself always goes along', async () => {
  const always = ['Dockerfile', '.dockerignore'];
  assert.deepEqual(await left(['*'], ['.dockerignore', 'Dockerfile', 'a'], always), ['.dockerignore', 'Dockerfile']);
});

test('a line that is no pattern is told with its number', async () => {
  for (const [line, message] of [
    ['a[b', /^\.dockerignore:2: "a\[b" is no pattern/u],
    ['a\\', /is no pattern/u],
    ['a[z-a]', /is no pattern/u],
    ['!', /takes nothing back/u],
    [`${'*'.repeat(20_000)}a`, /the patterns are too many/u],
  ] as const)
    await assert.rejects(left(['# first', line], []), (error) => isFailure(error, 'build_failed') && message.test(error.message), line);
});

test('hostile patterns over many files take no more than some seconds, and let others in', async () => {
  const lines = Array.from({ length: 5 }, (_, at) => `${'**/*a'.repeat(20)}${at}x`);
  const paths = Array.from({ length: 100 }, (_, at) => `${'a'.repeat(100)}/${'a'.repeat(100)}${at}`);
  let turns = 0;
  const others = setInterval(() => (turns += 1), 1);
  try {
    assert.equal((await left(lines, paths)).length, 100);
  } finally {
    clearInterval(others);
  }
  assert.ok(turns >= 5, String(turns));
});
