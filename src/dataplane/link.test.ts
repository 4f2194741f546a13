import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { createHttpLink } from './link.ts';

test('files that are missing or damaged are named, and read again at the next try', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'libra-link-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const [connectionFile, identityFile] = ['connection.json', 'identity.json'].map((name) => join(folder, name));
  assert.ok(connectionFile !== undefined && identityFile !== undefined);
  const link = createHttpLink({ connectionFile, edgeId: 'e', clock: systemClock });
  const refused = async (file: string): Promise<void> => {
    await assert.rejects(link.tell({ tap: 't', lines: [], dropped: 0, caughtUp: true }, AbortSignal.timeout(10_000)), (error) => {
      return isFailure(error, 'unavailable') && error.message.includes(file);
    });
  };
  await refused(connectionFile);
  await writeFile(connectionFile, JSON.stringify({ urls: ['https://127.0.0.1:1'] }));
  await refused(connectionFile);
  await writeFile(connectionFile, JSON.stringify({ urls: ['https://127.0.0.1:1'], identityFile }));
  await refused(identityFile);
  for (const damaged of ['{', '{"nodeId":"1","authorityPem":"","certificatePem":""}']) {
    await writeFile(identityFile, damaged);
    await refused(identityFile);
  }
});
