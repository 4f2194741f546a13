import assert from 'node:assert/strict';
import { createHmac, createPrivateKey, createPublicKey, sign, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import { keyIdOf, machineName } from './identity.ts';
import type { MachineIdentity } from './identity.ts';
import { createTokenVerifier, signInstanceToken, TOKEN_LIFE_MS } from './instance-token.ts';
import type { InstanceClaims, TokenVerifier } from './instance-token.ts';

const authority = makeAuthority();
const nodeId = newId();
const node = authority.issueMachine(nodeId);
const claims: InstanceClaims = {
  instanceId: newId(),
  app: 'shop',
  environment: 'production',
  environmentId: newId(),
  entrypoint: 'web',
};
const MINUTE_MS = 60_000;

function setUp(authorityPem: () => string | null = () => authority.certificatePem): { clock: FakeClock; verifier: TokenVerifier } {
  const clock = createFakeClock(Date.now());
  return { clock, verifier: createTokenVerifier({ authorityPem, clock }) };
}

function why(verifier: TokenVerifier, token: string): string {
  const verified = verifier.verify(token);
  assert.equal(verified.ok, false, token);
  return verified.ok ? '' : verified.why;
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const derOf = ({ certificatePem }: MachineIdentity): string => new X509Certificate(certificatePem).raw.toString('base64');

interface Forged {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly payload?: Readonly<Record<string, unknown>>;
  /** Whose key signs, and whose certificate comes along. */
  readonly by?: MachineIdentity;
}

/** A token as a Node would sign it, but for what is named. */
function forge({ header = {}, payload = {}, by = node }: Forged, nowMs: number): string {
  const issued = Math.floor(nowMs / 1000);
  const { instanceId, ...names } = claims;
  const own = { iss: machineName(by.nodeId, 'node'), sub: instanceId, aud: 'libra', iat: issued, exp: issued + 900, ...names };
  const signed = `${encode({ alg: 'ES256', typ: 'JWT', x5c: [derOf(by)], ...header })}.${encode({ ...own, ...payload })}`;
  const key = { key: createPrivateKey(by.keyPem), dsaEncoding: 'ieee-p1363' as const };
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}

test('what a Node signs verifies by the authority alone, for a quarter of an hour', async () => {
  const { clock, verifier } = setUp();
  const token = signInstanceToken(node, claims, clock.now());
  const verified = verifier.verify(token);
  assert.ok(verified.ok);
  assert.deepEqual(verified.claims, claims);
  assert.equal(verified.nodeId, nodeId);
  assert.equal(verified.key, keyIdOf(createPublicKey(node.keyPem)));
  assert.equal(verified.expiresAtMs, Math.floor(clock.now() / 1000) * 1000 + TOKEN_LIFE_MS);
  await clock.advance(TOKEN_LIFE_MS - 2_000);
  assert.ok(verifier.verify(token).ok);
  await clock.advance(2_000);
  assert.match(why(verifier, token), /^it is over since \d{4}-\d\d-\d\dT/u);
  // Nor does one that has never seen it take it then.
  assert.match(why(createTokenVerifier({ authorityPem: () => authority.certificatePem, clock }), token), /^it is over/u);
});

test('the token is what other libraries read as a JWT', () => {
  const token = signInstanceToken(node, claims, Date.UTC(2026, 10, 28));
  const parts = token.split('.').slice(0, 2);
  const [header, payload] = parts.map((part): unknown => JSON.parse(Buffer.from(part, 'base64url').toString('utf8')));
  assert.deepEqual(header, { alg: 'ES256', typ: 'JWT', x5c: [derOf(node)] });
  const iat = Date.UTC(2026, 10, 28) / 1000;
  const { instanceId, ...names } = claims;
  assert.deepEqual(payload, { iss: `${nodeId}.node.libra.internal`, sub: instanceId, aud: 'libra', iat, exp: iat + 900, ...names });
  assert.ok(token.length < 2_500, `${token.length} characters travel with every call`);
});

test('only one algorithm and one certificate count, and nothing that would change how it is read', () => {
  const { clock, verifier } = setUp();
  const now = clock.now();
  assert.ok(verifier.verify(forge({}, now)).ok);
  const der = derOf(node);
  const headers: Readonly<Record<string, unknown>>[] = [
    { alg: 'none' },
    { alg: 'HS256' },
    { alg: 'ES384' },
    { alg: 'es256' },
    { alg: null },
    { typ: 'at+jwt' },
    { x5c: [] },
    { x5c: [der, der] },
    { x5c: der },
    { x5c: null },
    { x5c: [7] },
    { crit: ['exp'] },
    { jku: 'https://example.org/keys' },
    { jwk: {} },
    { kid: '1' },
    { b64: false },
  ];
  for (const header of headers) assert.match(why(verifier, forge({ header }, now)), /not signed in the one way/u, JSON.stringify(header));
  for (const x5c of ['', 'AAAA', `${der} `, der.replace(/.$/u, ''), `${der}AAAA`, node.certificatePem])
    assert.match(why(verifier, forge({ header: { x5c: [x5c] } }, now)), /no certificate that can be read/u, x5c.slice(-20));
});

test('a signature of none, or made with the certificate as a secret, is no signature', () => {
  const { clock, verifier } = setUp();
  const [header = '', payload = ''] = forge({}, clock.now()).split('.');
  const signed = `${header}.${payload}`;
  const mac = createHmac('sha256', new X509Certificate(node.certificatePem).publicKey.export({ format: 'pem', type: 'spki' }));
  const hmac = mac.update(signed).digest();
  for (const tail of ['', '.', 'AA', hmac.toString('base64url'), Buffer.concat([hmac, hmac]).toString('base64url'), 'A'.repeat(86)])
    assert.match(why(verifier, `${signed}.${tail}`), /form of one|does not fit/u, tail);
  // ECDSA in DER is another form of the same signature.
  const der = sign('sha256', Buffer.from(signed), createPrivateKey(node.keyPem)).toString('base64url');
  assert.match(why(verifier, `${signed}.${der}`), /form of one/u);
});

test('a certificate of somebody else is worth nothing, however well it is signed with', () => {
  const { clock, verifier } = setUp();
  const now = clock.now();
  const foreign = makeAuthority().issueMachine(nodeId);
  assert.match(why(verifier, signInstanceToken(foreign, claims, now)), /not one of this platform/u);
  // The key of another Node under this one's certificate, and the other way round.
  const other = authority.issueMachine(newId());
  assert.match(why(verifier, forge({ by: { ...node, keyPem: other.keyPem } }, now)), /does not fit/u);
  assert.match(why(verifier, forge({ by: other, payload: { iss: machineName(nodeId, 'node') } }, now)), /another Node/u);
  const edge = authority.issueMachine(newId(), ['edge']);
  assert.match(why(verifier, signInstanceToken(edge, claims, now)), /not that of a Node/u);
  const two = authority.issueMachine(nodeId, [], { names: [machineName(nodeId, 'node'), machineName(other.nodeId, 'node')] });
  assert.match(why(verifier, signInstanceToken(two, claims, now)), /not that of a Node/u);
  // A certificate of the authority itself.
  const root = { ...node, certificatePem: authority.certificatePem };
  assert.match(why(verifier, forge({ by: root }, now)), /not one of this platform/u);
});

test('the certificate has to be good at the time, and bounds the token', async () => {
  const { clock, verifier } = setUp();
  const old = authority.issueMachine(nodeId, ['node'], { untilMs: clock.now() - MINUTE_MS });
  assert.match(why(verifier, signInstanceToken(old, claims, clock.now())), /^it is over since/u);
  const ending = authority.issueMachine(nodeId, ['node'], { untilMs: clock.now() + 5 * MINUTE_MS });
  const token = signInstanceToken(ending, claims, clock.now());
  assert.ok(verifier.verify(token).ok);
  await clock.advance(5 * MINUTE_MS);
  assert.match(why(verifier, token), /^it is over since/u);
  const { clock: early, verifier: asked } = setUp();
  early.jump(-2 * 86_400_000);
  assert.match(why(asked, signInstanceToken(node, claims, early.now())), /its certificate counts from/u);
});

test('what it says has to hold together', () => {
  const { clock, verifier } = setUp();
  const now = clock.now();
  const issued = Math.floor(now / 1000);
  const payloads: Readonly<Record<string, unknown>>[] = [
    { aud: 'other' },
    { aud: ['libra'] },
    { sub: '' },
    { sub: 7 },
    { sub: null },
    { app: 'a b' },
    { app: 'shop\r\nx-libra-caller: admin' },
    { environment: 'x'.repeat(101) },
    { environmentId: undefined },
    { entrypoint: {} },
    { iat: `${issued}` },
    { iat: issued + 0.5 },
    { iat: 0 },
    { exp: null },
    { exp: issued },
    { exp: issued - 1 },
    { exp: issued + 901 },
    { exp: Number.MAX_SAFE_INTEGER },
    { iat: -900, exp: Number.MAX_VALUE },
    { iss: undefined },
  ];
  for (const payload of payloads) assert.match(why(verifier, forge({ payload }, now)), /form of one/u, JSON.stringify(payload));
  for (const iss of [nodeId, machineName(nodeId, 'edge'), machineName(newId(), 'node')])
    assert.match(why(verifier, forge({ payload: { iss } }, now)), /another Node/u);
  // What later versions may say besides.
  assert.ok(verifier.verify(forge({ payload: { session: 'x' } }, now)).ok);
  assert.throws(() => signInstanceToken(node, { ...claims, app: 'a b' }, now), TypeError);
});

test('clocks may differ by a minute, and a Node whose clock runs further ahead is told so', () => {
  const { clock, verifier } = setUp();
  assert.ok(verifier.verify(signInstanceToken(node, claims, clock.now() + MINUTE_MS)).ok);
  assert.match(why(verifier, signInstanceToken(node, claims, clock.now() + MINUTE_MS + 2_000)), /the clock of its Node is ahead/u);
  assert.ok(verifier.verify(signInstanceToken(node, claims, clock.now() - 14 * MINUTE_MS)).ok);
  assert.match(why(verifier, signInstanceToken(node, claims, clock.now() - 15 * MINUTE_MS)), /^it is over since/u);
});

test('what is no token at all is refused at once, however long it is', () => {
  const { clock, verifier } = setUp();
  const token = forge({}, clock.now());
  const padded = forge({ header: { x5c: [derOf(node), 'A'.repeat(12_000)] } }, clock.now());
  const garbage = [
    '',
    '.',
    '..',
    '...',
    'a.b.c',
    `${token}.`,
    `.${token}`,
    token.replace('.', ''),
    ` ${token}`,
    `${token}\n`,
    'null.null.null',
  ];
  for (const text of garbage) assert.match(why(verifier, text), /form of one|in the one way/u, text.slice(0, 20));
  assert.match(why(verifier, padded), /too long/u);
  assert.match(why(verifier, 'a'.repeat(50_000_000)), /too long/u);
  assert.match(why(verifier, '.'.repeat(12_000)), /form of one/u);
  assert.match(why(verifier, `${encode({ alg: 'ES256', typ: 'JWT', x5c: ['['.repeat(5_000)] })}.e30.${'A'.repeat(86)}`), /can be read/u);
});

test('authorities come and go: any of the present ones counts, and what an earlier one said does not', () => {
  let present: string | null = null;
  const { clock, verifier } = setUp(() => present);
  const token = signInstanceToken(node, claims, clock.now());
  assert.match(why(verifier, token), /not known here yet/u);
  const second = makeAuthority();
  present = `${second.certificatePem}${authority.certificatePem}`;
  assert.ok(verifier.verify(token).ok);
  assert.ok(verifier.verify(signInstanceToken(second.issueMachine(newId()), claims, clock.now())).ok);
  present = second.certificatePem;
  assert.match(why(verifier, token), /not one of this platform/u);
  present = 'not a certificate';
  assert.match(why(verifier, token), /not known here yet/u);
});

test('no token verifies in which anything was changed', () => {
  const { clock, verifier } = setUp();
  const token = signInstanceToken(node, claims, clock.now());
  // Known to it already: the cache must not be what lets a changed one pass.
  assert.ok(verifier.verify(token).ok);
  const character = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ '.split(''));
  const change = fc.oneof(
    fc.record({ kind: fc.constant('put' as const), at: fc.nat(token.length - 1), text: character }),
    fc.record({ kind: fc.constant('insert' as const), at: fc.nat(token.length), text: character }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.nat(token.length - 1), text: fc.constant('') }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(token.length - 1), text: fc.constant('') }),
  );
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
      let text = token;
      for (const { kind, at, text: put } of changes) {
        if (kind === 'cut') text = text.slice(0, at);
        else text = text.slice(0, at) + put + text.slice(kind === 'insert' ? at : at + 1);
      }
      fc.pre(text !== token);
      assert.equal(verifier.verify(text).ok, false);
    }),
    { numRuns: 3_000 },
  );
  // Every character in turn, the last bits of each part included.
  for (let at = 0; at < token.length; at += 1) {
    const next = String.fromCharCode((token.codePointAt(at) ?? 0) ^ 1);
    assert.equal(verifier.verify(token.slice(0, at) + next + token.slice(at + 1)).ok, false, `character ${at}`);
  }
});

test('no payload that a Node has not signed goes with its signature', () => {
  const { clock, verifier } = setUp();
  const [header = '', payload = '', tail = ''] = signInstanceToken(node, claims, clock.now()).split('.');
  const known: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
  assert.ok(typeof known === 'object');
  fc.assert(
    fc.property(
      fc.constantFrom('sub', 'app', 'environment', 'environmentId', 'entrypoint', 'iat', 'exp'),
      fc.jsonValue(),
      (name, value) => {
        const changed = encode({ ...known, [name]: value });
        fc.pre(changed !== payload);
        assert.equal(verifier.verify(`${header}.${changed}.${tail}`).ok, false);
      },
    ),
  );
});

test('it remembers as many tokens as it may, and the same one costs a look-up', () => {
  const clock = createFakeClock(Date.now());
  const verifier = createTokenVerifier({ authorityPem: () => authority.certificatePem, clock, kept: 3 });
  const fresh = (instanceId: string): string => signInstanceToken(node, { ...claims, instanceId }, clock.now());
  const isKnown = (token: string): boolean => {
    const first = verifier.verify(token);
    assert.ok(first.ok);
    return verifier.verify(token) === first;
  };
  const tokens = ['a', 'b', 'c', 'd'].map(fresh);
  const [a = '', , , d = ''] = tokens;
  const verified = tokens.map((token) => verifier.verify(token));
  assert.ok(isKnown(a) && isKnown(d));
  assert.equal(verifier.verify(d), verified[3], 'the very same answer');
  assert.notEqual(verifier.verify(a), verified[0], 'the oldest had made room, and was found anew');
});
