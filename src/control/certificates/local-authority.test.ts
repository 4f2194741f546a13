import assert from 'node:assert/strict';
import { X509Certificate, createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createSealer } from '../config/sealer.ts';
import { createTestContext } from '../test-context.ts';
import { openLocalAuthority } from './local-authority.ts';
import { writeCertificate } from './x509.ts';

const sealer = (random: Parameters<typeof createSealer>[1]): ReturnType<typeof createSealer> =>
  createSealer(createHash('sha256').update('master').digest(), random);

const leafOf = (chainPem: string): X509Certificate => new X509Certificate(chainPem);

test('an authority is made once, and its servers are for the name that was asked, for 90 days', async () => {
  const context = await createTestContext();
  const first = await openLocalAuthority(context, sealer(context.random));
  const again = await openLocalAuthority(context, sealer(context.random));
  assert.equal(again.certificatePem, first.certificatePem);
  const root = new X509Certificate(first.certificatePem);
  assert.ok(root.ca && root.verify(root.publicKey));
  for (const [name, host] of [
    ['hello.localhost', 'hello.localhost'],
    ['*.shop.example.com', 'a.shop.example.com'],
  ] as const) {
    const { chainPem, keyPem, untilMs } = again.issue(name);
    const leaf = leafOf(chainPem);
    assert.ok(leaf.checkIssued(root) && leaf.verify(root.publicKey) && !leaf.ca);
    assert.ok(leaf.checkPrivateKey(createPrivateKey(keyPem)));
    assert.equal(leaf.checkHost(host) === undefined, false);
    assert.equal(leaf.checkHost('other.example'), undefined);
    assert.equal(Date.parse(leaf.validTo), Math.floor(untilMs / 1000) * 1000);
    assert.equal(untilMs - context.clock.now(), 90 * 86_400_000);
  }
  assert.equal(leafOf(first.issue('127.0.0.1').chainPem).checkIP('127.0.0.1'), '127.0.0.1');
  assert.equal(leafOf(first.issue('::1').chainPem).checkIP('::1'), '::1');
});

test('a certificate stays until it is nearly over, and then there is a new one', async () => {
  const context = await createTestContext();
  const authority = await openLocalAuthority(context, sealer(context.random));
  const first = authority.issue('a.localhost');
  await context.clock.advance(59 * 86_400_000);
  assert.equal(authority.issue('a.localhost'), first);
  await context.clock.advance(2 * 86_400_000);
  assert.notEqual(authority.issue('a.localhost').chainPem, first.chainPem);
  const last = authority.issue('a.localhost');
  authority.forget('a.localhost');
  assert.notEqual(authority.issue('a.localhost').chainPem, last.chainPem);
});

test('what is written is read as it was meant, for any name, time and serial number', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const label = fc.stringMatching(/^[a-z0-9]{1,20}$/u);
  fc.assert(
    fc.property(
      fc.array(label, { minLength: 2, maxLength: 8 }).map((labels) => labels.join('.')),
      fc.integer({ min: 0, max: 4_000_000_000 }),
      fc.uint8Array({ minLength: 1, maxLength: 19 }),
      (host, fromSeconds, bytes) => {
        const serial = Uint8Array.of(0x40, ...bytes);
        const name = { commonName: host.slice(0, 64), organization: 'Libra' };
        const pem = writeCertificate({
          serial,
          subject: name,
          publicKey,
          issuer: name,
          issuerKey: privateKey,
          issuerPublicKey: createPublicKey(privateKey),
          fromMs: fromSeconds * 1000,
          untilMs: (fromSeconds + 10) * 1000,
          use: { kind: 'server', names: [host] },
        });
        const read = new X509Certificate(pem);
        assert.equal(read.checkHost(host), host);
        assert.equal(read.serialNumber.toLowerCase(), Buffer.from(serial).toString('hex'));
        assert.equal(Date.parse(read.validFrom), fromSeconds * 1000);
        assert.ok(read.verify(publicKey));
      },
    ),
    { numRuns: 60 },
  );
});
