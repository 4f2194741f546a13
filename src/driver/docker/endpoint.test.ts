import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseEngineEndpoint } from './endpoint.ts';

test('a socket, and TCP where it is not open to the world', () => {
  assert.deepEqual(parseEngineEndpoint('unix:///run/docker.sock', null), { kind: 'unix', path: '/run/docker.sock' });
  assert.deepEqual(parseEngineEndpoint('tcp://[::1]:2375', null), { kind: 'tcp', host: '::1', port: 2375, tls: null });
  for (const url of ['http://127.0.0.1:2375', 'unix://docker.sock', 'tcp://host', '']) {
    assert.throws(() => parseEngineEndpoint(url, null), { code: 'invalid_input' });
  }
  assert.throws(() => parseEngineEndpoint('tcp://10.0.0.5:2376', null), /without TLS/u);
});

test('TLS files are read from the folder, and a missing one is named', () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-docker-tls-'));
  try {
    for (const name of ['ca', 'cert']) writeFileSync(join(folder, `${name}.pem`), name);
    assert.throws(() => parseEngineEndpoint('tcp://10.0.0.5:2376', folder), /key\.pem/u);
    writeFileSync(join(folder, 'key.pem'), 'key');
    const endpoint = parseEngineEndpoint('tcp://10.0.0.5:2376', folder);
    assert.deepEqual(endpoint, { kind: 'tcp', host: '10.0.0.5', port: 2376, tls: { ca: 'ca', cert: 'cert', key: 'key' } });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
