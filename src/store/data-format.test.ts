import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { rejectsWith } from './contract-support.ts';
import { checkDataFormat, DATA_FORMAT } from './data-format.ts';

async function inFolder(run: (folder: string, path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-format-'));
  try {
    await run(folder, join(folder, 'format.json'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe('the format of a data folder', () => {
  it('is written once, and notes a newer program of the same format', () =>
    inFolder(async (folder, path) => {
      await checkDataFormat(folder, '1.0.0');
      assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), { format: DATA_FORMAT, program: '1.0.0' });
      await checkDataFormat(folder, '1.0.0');
      await checkDataFormat(folder, '1.1.0');
      assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), { format: DATA_FORMAT, program: '1.1.0' });
    }));

  it('of a newer program is refused, naming that program, and left alone', () =>
    inFolder(async (folder, path) => {
      const text = JSON.stringify({ format: DATA_FORMAT + 1, program: '9.8.7', extra: true });
      await writeFile(path, text);
      await assert.rejects(checkDataFormat(folder, '1.0.0'), (error) => {
        assert.ok(isFailure(error, 'data_newer'));
        for (const fact of [folder, '9.8.7', '1.0.0']) assert.ok(error.message.includes(fact));
        return true;
      });
      assert.equal(await readFile(path, 'utf8'), text);
    }));

  it('that cannot be read is not overwritten', () =>
    inFolder(async (folder, path) => {
      for (const text of ['', '{', '[]', '{"format":"1","program":"1"}', '{"program":"1"}']) {
        await writeFile(path, text);
        await rejectsWith(checkDataFormat(folder, '1.0.0'), 'storage_failed');
        assert.equal(await readFile(path, 'utf8'), text);
      }
      await rejectsWith(checkDataFormat(join(folder, 'missing'), '1.0.0'), 'storage_failed');
    }));
});
