import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFailure } from '../../lib/failure.ts';
import { createSeededRandom } from '../../lib/id.ts';
import { createSealer, loadMasterKey } from './sealer.ts';

const key = createSeededRandom(1).bytes(32);
const sealer = createSealer(key, createSeededRandom(2));
const refuses = (run: () => unknown): void => assert.throws(run, (error) => isFailure(error, 'storage_failed'));

test('whatever is sealed opens again, under the same record and version only', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.uuid(), fc.nat(), (plain, id, version) => {
      const envelope = sealer.seal(plain, `values/${id}@${version}`);
      assert.deepEqual(new Uint8Array(sealer.open(envelope, `values/${id}@${version}`)), plain);
      refuses(() => sealer.open(envelope, `values/${id}@${version + 1}`));
    }),
    { numRuns: 50 },
  );
});

test('two records whose sealed texts are swapped do not open', () => {
  const one = sealer.seal(Buffer.from('one'), 'values/a@1');
  const two = sealer.seal(Buffer.from('two'), 'values/b@1');
  refuses(() => sealer.open(two, 'values/a@1'));
  refuses(() => sealer.open(one, 'values/b@1'));
});

test('a change of any byte is found', () => {
  const envelope = Buffer.from(sealer.seal(Buffer.from('a value'), 'values/a@1'), 'base64url');
  for (let at = 0; at < envelope.length; at += 1) {
    const changed = Buffer.from(envelope);
    changed[at] = (changed[at] ?? 0) ^ 1;
    refuses(() => sealer.open(changed.toString('base64url'), 'values/a@1'));
  }
  refuses(() => sealer.open(envelope.subarray(0, 20).toString('base64url'), 'values/a@1'));
  refuses(() => sealer.open('', 'values/a@1'));
});

test('equal values are sealed differently each time, and never hold the plain text', () => {
  const one = sealer.seal(Buffer.from('hunter2'), 'values/a@1');
  const two = sealer.seal(Buffer.from('hunter2'), 'values/a@1');
  assert.notEqual(one, two);
  assert.ok(!Buffer.from(one, 'base64url').includes('hunter2'));
});

test('a value of another master key is refused with that reason', () => {
  const other = createSealer(createSeededRandom(3).bytes(32), createSeededRandom(4));
  assert.throws(() => other.open(sealer.seal(Buffer.from('x'), 'values/a@1'), 'values/a@1'), /another master key/u);
});

test('the master key is made once with mode 0600 and read again as it was', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'libra-key-'));
  try {
    const file = join(folder, 'master.key');
    const starts = await Promise.all([1, 2, 3, 4].map((seed) => loadMasterKey(file, createSeededRandom(seed), { isFirst: true })));
    const again = await loadMasterKey(file, createSeededRandom(9), { isFirst: true });
    for (const made of starts) assert.deepEqual(made, again);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal(await readFile(file, 'utf8'), `${again.toString('hex')}\n`);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a missing master key of a platform that has one is not made anew', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'libra-key-'));
  try {
    const file = join(folder, 'master.key');
    await assert.rejects(
      loadMasterKey(file, createSeededRandom(1), { isFirst: false }),
      (error) => isFailure(error, 'storage_failed') && error.message.includes(file) && (error.hint ?? '').includes('Copy master.key'),
    );
    await assert.rejects(stat(file), /ENOENT/u);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a master key that others can read, or that is no key, is refused and left as it is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'libra-key-'));
  try {
    const file = join(folder, 'master.key');
    await loadMasterKey(file, createSeededRandom(1), { isFirst: true });
    await chmod(file, 0o640);
    await assert.rejects(loadMasterKey(file, createSeededRandom(1), { isFirst: true }), /mode 640/u);
    await chmod(file, 0o600);
    for (const text of ['', 'abc', 'g'.repeat(64), 'a'.repeat(65)]) {
      await writeFile(file, text);
      await assert.rejects(loadMasterKey(file, createSeededRandom(1), { isFirst: true }), (error) => isFailure(error, 'storage_failed'));
      assert.equal(await readFile(file, 'utf8'), text);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
