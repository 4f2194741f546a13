import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { createSecretFiles } from './secret-files.ts';
import { desiredInstance } from './testing.ts';

const data = mkdtempSync(join(tmpdir(), 'libra-secrets-'));
after(() => rmSync(data, { recursive: true }));

test('the place of secret files is given back when the last Instance has none, and not before', async () => {
  const spec = desiredInstance({
    id: 'one',
    files: [{ secret: 'key', path: '/etc/key', mode: 0o400, contentBase64: Buffer.from('k').toString('base64') }],
  });
  const files = await createSecretFiles(data, join(data, 'fallback'));
  const folder = await files.write(spec);
  assert.ok(folder !== null);
  await files.close();
  assert.equal(readFileSync(files.paths(spec)[0]?.path ?? '', 'utf8'), 'k', 'an Instance that lives on keeps its files');
  await files.remove('one');
  await files.close();
  assert.equal(existsSync(dirname(folder)), false);
  await files.close();
});
