import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { folderBytes } from './folder-bytes.ts';

test('a folder is measured with what is below it, symlinks not followed, and the walk stops at its bounds', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-size-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'deep', 'er'), { recursive: true });
  writeFileSync(join(folder, 'deep', 'er', 'file'), Buffer.alloc(1_000_000, 1));
  for (let index = 0; index < 50; index += 1) writeFileSync(join(folder, `small-${index}`), 'x');
  symlinkSync('/', join(folder, 'root'));
  const whole = await folderBytes(folder);
  assert.ok(whole.complete && whole.bytes >= 1_000_000 && whole.bytes < 1_400_000, JSON.stringify(whole));
  assert.equal(whole.entries, 54);
  assert.equal((await folderBytes(folder, { maxEntries: 10 })).complete, false);
  assert.equal((await folderBytes(folder, { maxBytes: 500_000 })).complete, false);
  assert.deepEqual(await folderBytes(join(folder, 'absent')), { bytes: 0, entries: 0, complete: true });
});
