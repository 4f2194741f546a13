// What this machine keeps, and who needs it.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { createLocalPlatform } from './local-platform.ts';

test('damage to what a control plane keeps is told to who starts it, and to nobody else', async () => {
  const data = await mkdtemp(join(tmpdir(), 'libra-local-'));
  try {
    await writeFile(join(data, 'control.json'), '{"variables":');
    const local = createLocalPlatform({ env: { LIBRA_DATA: data, HOME: data }, uid: 1000 });
    assert.match(local.version, /^\d/u);
    await assert.rejects(local.startInBackground({}, { onProgress: () => undefined }), (error) => isFailure(error, 'storage_failed'));
    await assert.rejects(local.examine(), (error) => isFailure(error, 'storage_failed'));
  } finally {
    await rm(data, { recursive: true, force: true });
  }
});
