import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import { replaceFileSync } from '../sys/durable-file.ts';
import { silentLog } from '../sys/log.ts';
import { createIdentityFile } from './identity-file.ts';
import { machineIdOf, machineName } from './identity.ts';
import { createLineReader, parsePreface, prefaceLine } from './preface.ts';

test('a certificate says what a machine may be only where its names leave no doubt', () => {
  const [id, other] = [newId(), newId()];
  const edge = `DNS:${machineName(id, 'edge')}`;
  const of = (subjectAltName: string | undefined): string | null => machineIdOf({ subjectAltName }, 'edge');
  assert.equal(of(`DNS:${machineName(id, 'node')}, ${edge}`), id);
  assert.equal(of(`${edge}, IP Address:10.0.0.1`), id);
  assert.equal(of(`${edge}, ${edge}`), id);
  for (const names of [
    undefined,
    '',
    `DNS:${machineName(id, 'node')}`,
    `${edge}, DNS:${machineName(other, 'edge')}`,
    `DNS:x${machineName(id, 'edge')}`,
    `${edge}.example.org`,
    `URI:${machineName(id, 'edge')}`,
    `DNS:*.edge.libra.internal`,
    // One name that reads like two, as Node writes it.
    `DNS:"a, ${edge}, b"`,
  ])
    assert.equal(of(names), null, String(names));
});

test('a preface comes out as it went in, in whatever pieces it comes, and what stands behind it is left', () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[\w.-]{1,64}$/u),
      fc.nat(),
      fc.constantFrom('half' as const, 'reset' as const),
      fc.uint8Array({ maxLength: 50 }),
      fc.array(fc.nat(40), { maxLength: 20 }),
      (instanceId, generation, end, behind, cuts) => {
        const preface = { instanceId, generation, end };
        const bytes = Buffer.concat([Buffer.from(prefaceLine(preface)), behind]);
        const lines = createLineReader();
        let at = 0;
        for (const length of [...cuts, bytes.length]) {
          const read = lines.push(bytes.subarray(at, at + length));
          at += length;
          if (read === null) continue;
          assert.ok(read !== 'long');
          assert.deepEqual(parsePreface(read.line), preface);
          assert.deepEqual(Buffer.concat([read.rest, bytes.subarray(at)]), Buffer.from(behind));
          return;
        }
        assert.fail('the line never came');
      },
    ),
  );
});

test('no line is read for longer than a line can be', () => {
  const lines = createLineReader();
  let read: ReturnType<typeof lines.push> = null;
  for (let times = 0; times < 200 && read === null; times += 1) read = lines.push(Buffer.from('x'));
  assert.equal(read, 'long');
});

test('an identity file may come, change and break: what was read last stays in force', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'libra-identity-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const clock = createFakeClock();
  const file = join(folder, 'identity.json');
  const identity = createIdentityFile(file, { clock, log: silentLog });
  const [first, second] = ['1', '2'].map((n) => ({ nodeId: n, authorityPem: n, certificatePem: n, keyPem: n }));
  assert.equal(identity(), null);
  replaceFileSync(file, JSON.stringify(first));
  assert.equal(identity(), null, 'it is not looked at again at once');
  await clock.advance(1_000);
  assert.deepEqual(identity(), first);
  for (const broken of ['{', '{"nodeId":"3"}', '']) {
    await writeFile(file, broken);
    await clock.advance(1_000);
    assert.deepEqual(identity(), first);
  }
  replaceFileSync(file, JSON.stringify(second));
  await clock.advance(1_000);
  assert.deepEqual(identity(), second);
});
