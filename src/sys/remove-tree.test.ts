import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { removeTree } from './remove-tree.ts';

const STRANGER = 234_567;
let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'libra-remove-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const outside = (): string => {
  const folder = join(base, 'outside');
  mkdirSync(folder);
  for (let index = 0; index < 20; index += 1) writeFileSync(join(folder, `kept-${index}`), 'x');
  return folder;
};

test('files, folders that may not be written, and links go; what the links name stays', async () => {
  const kept = outside();
  const tree = join(base, 'tree');
  mkdirSync(join(tree, 'closed/inner'), { recursive: true });
  writeFileSync(join(tree, 'closed/inner/file'), 'x');
  symlinkSync(kept, join(tree, 'link'));
  symlinkSync('nowhere', join(tree, 'broken'));
  chmodSync(join(tree, 'closed'), 0o500);
  await removeTree(tree);
  assert.equal(existsSync(tree), false);
  assert.equal(readdirSync(kept).length, 20);
  await removeTree(tree);
});

test('a link in the place of the folder is removed, and its folder is not', async () => {
  const kept = outside();
  symlinkSync(kept, join(base, 'tree'));
  await removeTree(join(base, 'tree'));
  assert.deepEqual([readdirSync(base), readdirSync(kept).length], [['outside'], 20]);
});

test('nesting deeper than any path can name is no obstacle', async () => {
  const tree = join(base, 'tree');
  mkdirSync(join(tree, '.moved-1/x'), { recursive: true });
  const name = 'n'.repeat(200);
  const from = process.cwd();
  mkdirSync(join(tree, 'deep'));
  process.chdir(join(tree, 'deep'));
  try {
    for (let depth = 0; depth < 120; depth += 1) {
      mkdirSync(name);
      process.chdir(name);
    }
  } finally {
    process.chdir(from);
  }
  await removeTree(tree);
  assert.equal(existsSync(tree), false);
});

/** Swaps the folder `d` and a link to the outside for each other, as fast as it can. */
const ATTACKER = `
const fs = require('node:fs');
const [outside] = process.argv.slice(1);
const rename = (a, b) => { try { fs.renameSync(a, b); } catch {} };
process.stdout.write('ready');
for (;;) {
  try { fs.symlinkSync(outside, 's'); } catch {}
  rename('d', 'd2'); rename('s', 'd'); rename('d', 's'); rename('d2', 'd');
}`;

test(
  'an owner who swaps folders for links meanwhile has nothing removed outside',
  { skip: process.getuid?.() === 0 ? false : 'only root removes what belongs to other users' },
  async () => {
    chmodSync(base, 0o711);
    const kept = outside();
    for (let round = 0; round < 12; round += 1) {
      const tree = join(base, `tree-${round}`);
      mkdirSync(join(tree, 'd'), { recursive: true });
      for (let index = 0; index < 200; index += 1) for (const at of [tree, join(tree, 'd')]) writeFileSync(join(at, `f${index}`), 'x');
      chownSync(join(tree, 'd'), STRANGER, STRANGER);
      chownSync(tree, STRANGER, STRANGER);
      const attacker = spawn(process.execPath, ['-e', ATTACKER, kept], {
        cwd: tree,
        uid: STRANGER,
        gid: STRANGER,
        env: {},
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      try {
        await once(attacker.stdout, 'data');
        await removeTree(tree);
      } finally {
        attacker.kill('SIGKILL');
      }
      assert.equal(existsSync(tree), false);
      assert.equal(readdirSync(kept).length, 20);
    }
  },
);
