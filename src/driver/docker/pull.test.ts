import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { registryLogin } from './pull.ts';
import { parseReference } from './reference.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

test('references are taken apart as Docker takes them', () => {
  const parts = (text: string): readonly (string | null)[] => {
    const { registry, name, version } = parseReference(text);
    return [registry, name, version];
  };
  assert.deepEqual(parts('nginx'), [null, 'nginx', 'latest']);
  assert.deepEqual(parts('team/shop:1.2'), [null, 'team/shop', '1.2']);
  assert.deepEqual(parts('localhost:5000/shop'), ['localhost:5000', 'localhost:5000/shop', 'latest']);
  assert.deepEqual(parts(`r.example.com/a/b:1@${DIGEST}`), ['r.example.com', 'r.example.com/a/b', DIGEST]);
  assert.equal(parseReference(`a@${DIGEST}`).digest, DIGEST);
});

test('a login is that of the registry, and a file that cannot be read is told', () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-logins-'));
  const file = join(folder, 'config.json');
  try {
    assert.throws(() => registryLogin(file, null), { code: 'invalid_input' });
    const auth = (text: string): object => ({ auth: Buffer.from(text).toString('base64') });
    writeFileSync(file, JSON.stringify({ auths: { 'r.example.com': auth('ann:a:b'), 'https://index.docker.io/v1/': auth('hub:x') } }));
    const login = (registry: string | null): unknown =>
      JSON.parse(Buffer.from(registryLogin(file, registry) ?? 'bnVsbA', 'base64url').toString('utf8'));
    assert.deepEqual(login('r.example.com'), { username: 'ann', password: 'a:b', serveraddress: 'r.example.com' });
    assert.deepEqual(login(null), { username: 'hub', password: 'x', serveraddress: 'https://index.docker.io/v1/' });
    assert.equal(login('other.example.com'), null);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
