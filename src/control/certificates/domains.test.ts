import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Failure } from '../../lib/failure.ts';
import { createSealer } from '../config/sealer.ts';
import { callOf, createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import type { NewCertificate, OrderCertificate } from './acme.ts';
import { createCertificates } from './certificates.ts';
import { createDomains, isOrderable } from './domains.ts';
import type { DomainsDeps } from './domains.ts';
import { update } from '../../store/records.ts';
import { domainRecords } from './records.ts';

const DAY = 86_400_000;
const HOST = 'shop.example.com';

interface Bench {
  readonly context: TestContext;
  readonly hosts: string[];
  readonly told: Readonly<Record<string, string>>[];
  /** Hosts beside those of Routes that the Edges have certificates of. */
  readonly certified: readonly string[];
  /** As an Edge reports them. */
  readonly want: (...hosts: readonly string[]) => Promise<void>;
  /** Resolves when what it began has ended too; `wait` false: at once. */
  readonly pass: (wait?: boolean) => Promise<number | void>;
  readonly source: Awaited<ReturnType<typeof createCertificates>>['source'];
  readonly list: () => Promise<
    readonly {
      readonly host: string;
      readonly state: string;
      readonly reason: string | null;
      readonly addresses: readonly string[] | null;
      readonly orderAtMs: number | null;
      readonly onDemand: boolean;
    }[]
  >;
}

async function bench(
  order: ((context: TestContext) => OrderCertificate) | null,
  dns = new Map<string, readonly string[]>(),
): Promise<Bench> {
  const context = await createTestContext();
  const sealer = createSealer(createHash('sha256').update('master').digest(), context.random);
  const { source, authorityPem } = await createCertificates(context, { sealer });
  const hosts = [HOST];
  const told: Readonly<Record<string, string>>[] = [];
  const certified: string[] = [];
  let want: (wanted: readonly string[]) => void = () => undefined;
  const routing: DomainsDeps['routing'] = {
    hosts: () => hosts,
    setChallenges: ({ challenges }) => told.push(challenges),
    certificatesChanged: () => undefined,
    everywhere: () => Promise.resolve(true),
    onDemandCovers: (host) => host.endsWith('.customer.com') || host.endsWith('.customer.localhost'),
    certifyAlso: (wanted) => certified.splice(0, certified.length, ...wanted),
    onWanted: (listener) => {
      want = listener;
      return () => undefined;
    },
  };
  const domains = createDomains(context, {
    sealer,
    authorityPem,
    routing,
    ...(order === null ? {} : { order: order(context) }),
    resolve: (host) => Promise.resolve(dns.get(host) ?? null),
  });
  const [reconciler] = domains.reconcilers;
  assert.ok(reconciler !== undefined);
  const list: Bench['list'] = async () =>
    (await domains.handlers.domains.list(callOf({ params: undefined, query: undefined, body: undefined }))).items;
  return {
    context,
    hosts,
    told,
    source,
    certified,
    want: async (...wanted) => {
      want(wanted);
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    },
    pass: async (wait = true) => {
      const nextMs = await reconciler.run(new AbortController().signal);
      while (wait && (await list()).some(({ state }) => state === 'ordering')) await new Promise((resolve) => setImmediate(resolve));
      return nextMs;
    },
    list,
  };
}

const inOrder = (a: string, b: string): number => (a < b ? -1 : 1);

const issued = (context: TestContext, text: string): NewCertificate => ({
  chainPem: `chain ${text}`,
  keyPem: `key ${text}`,
  fromMs: context.clock.now(),
  untilMs: context.clock.now() + 90 * DAY,
});

test('a host is ordered once, answered for by the Edges meanwhile, and renewed a third of its life before its end', async () => {
  let orders = 0;
  const { context, pass, told, source, list, hosts } = await bench((its) => async (host, proof, answer) => {
    assert.deepEqual([host, proof], [HOST, 'http-01']);
    orders += 1;
    await (
      await answer({ type: 'http-01', token: 'token', value: 'token.thumbprint' })
    )();
    return issued(its, String(orders));
  });
  hosts.push('hello.localhost', '*.example.com', '10.0.0.1');
  const nextMs = await pass();
  assert.deepEqual(told, [{ token: 'token.thumbprint' }, {}]);
  assert.equal(orders, 1);
  assert.ok((nextMs ?? 0) > 0);
  assert.deepEqual([source.of(HOST).chainPem, source.of(HOST).keyPem], ['chain 1', 'key 1']);
  assert.doesNotMatch(JSON.stringify(context.view.list(domainRecords)), /key 1/u, 'keys are sealed');
  assert.deepEqual(
    (await list()).map(({ host, state }) => `${host} ${state}`),
    ['*.example.com local', '10.0.0.1 local', 'hello.localhost local', `${HOST} issued`],
  );
  await context.clock.advance(47 * DAY);
  await pass();
  assert.equal(orders, 1);
  await context.clock.advance(13 * DAY + 1);
  await pass();
  assert.equal(orders, 2);
  assert.equal(source.of(HOST).chainPem, 'chain 2');
  await context.close();
});

test('what fails is told, tried again more and more seldom, and leaves the last certificate in force', async () => {
  let fails = false;
  let orders = 0;
  const { context, pass, source, list, hosts } = await bench((its) => async () => {
    orders += 1;
    if (fails) throw new Error('the authority says no');
    return issued(its, String(orders));
  });
  await pass();
  fails = true;
  await context.clock.advance(60 * DAY);
  const waits: number[] = [];
  for (let round = 0; round < 12; round += 1) {
    await pass();
    const [domain] = (await list()).filter(({ host }) => host === HOST);
    assert.equal(domain?.state, 'issued');
    assert.equal(domain.reason, 'http-01: the authority says no; tls-alpn-01: the authority says no');
    waits.push((domain.orderAtMs ?? 0) - context.clock.now());
    await context.clock.advance(waits.at(-1) ?? 0);
  }
  assert.equal(orders, 25, 'each by both ways');
  assert.equal(source.of(HOST).chainPem, 'chain 1');
  assert.ok((waits[0] ?? 0) >= 240_000 && (waits[0] ?? 0) <= 300_000, String(waits));
  assert.ok((waits.at(-1) ?? 0) >= 4.8 * 3_600_000 && (waits.at(-1) ?? 0) <= 6 * 3_600_000, String(waits));
  assert.deepEqual(context.events.filter(({ kind }) => kind === 'domain.failed').length, 4, 'not one for each try');
  // Over: the platform's own authority stands in.
  await context.clock.advance(40 * DAY);
  assert.match(source.of(HOST).chainPem, /BEGIN CERTIFICATE/u);
  assert.equal((await list()).find(({ host }) => host === HOST)?.state, 'failed');
  hosts.length = 0;
  await pass();
  assert.equal(context.view.list(domainRecords).length, 0, 'nobody asks for it any longer');
  await context.close();
});

test('an authority that does not answer for some hosts is left after a while, and others are ordered meanwhile', async () => {
  const hang = new Set([HOST, 'h2.example.com', 'h3.example.com']);
  const { context, hosts, pass, list } = await bench(
    (its) => (host) => (hang.has(host) ? new Promise<never>(() => undefined) : Promise.resolve(issued(its, host))),
  );
  const statesOf = async (): Promise<string> => (await list()).map(({ state }) => state).join(' ');
  hosts.push('h2.example.com', 'h3.example.com');
  await pass(false);
  assert.equal(await statesOf(), 'ordering ordering ordering');
  hosts.push('a1.example.com', 'a2.example.com');
  for (let round = 0; round < 4; round += 1) {
    assert.ok(((await pass(false)) ?? 0) > 0);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(await statesOf(), 'issued issued ordering ordering ordering', 'by one free place');
  await context.clock.advance(300_000);
  await pass();
  assert.equal(await statesOf(), 'issued issued failed failed failed');
  assert.match((await list()).at(-1)?.reason ?? '', /^http-01: The order did not end within 150 s/u);
  await context.close();
});

test('what came of an order is held until it can be kept, and not ordered twice', async () => {
  let orders = 0;
  const gate = Promise.withResolvers<undefined>();
  const { context, pass, source, list } = await bench((its) => async (host) => {
    orders += 1;
    await gate.promise;
    return issued(its, host);
  });
  const { view } = context;
  const { commit } = view;
  // As changes wake the reconciler.
  view.onChange(() => void pass(false));
  await pass(false);
  view.commit = () => Promise.reject(new Failure('storage_failed', { message: 'The disk is full.' }));
  gate.resolve(undefined);
  for (let round = 0; round < 5; round += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(((await pass(false)) ?? 0) <= 60_000);
    await context.clock.advance(60_000);
  }
  assert.equal((await list())[0]?.state, 'ordering');
  view.commit = commit;
  await pass();
  assert.equal(orders, 1);
  assert.equal(context.events.filter(({ kind }) => kind === 'domain.issued').length, 1);
  assert.equal((await list())[0]?.state, 'issued');
  assert.equal(source.of(HOST).chainPem, `chain ${HOST}`);
  await context.close();
});

test('a key that cannot be opened costs its own host the certificate, and nobody else anything', async () => {
  const { context, pass, source, hosts } = await bench((its) => (host) => Promise.resolve(issued(its, host)));
  hosts.push('b.example.com');
  await pass();
  const stored = context.view.get(domainRecords, HOST);
  const certificate = stored?.document.certificate;
  assert.ok(stored !== undefined && certificate !== null && certificate !== undefined);
  const damaged = { ...stored.document, certificate: { ...certificate, sealedKey: 'AAAA' } };
  await context.view.commit(update(domainRecords, stored, damaged));
  assert.match(source.of(HOST).chainPem, /BEGIN CERTIFICATE/u);
  assert.equal(source.of('b.example.com').chainPem, 'chain b.example.com');
  await context.close();
});

test('only names that a public authority can know are ordered', () => {
  for (const host of ['shop.example.com', 'a.co', 'xn--bcher-kva.de']) assert.equal(isOrderable(host, false), true, host);
  for (const host of ['localhost', 'a.localhost', 'printer.local', 'a.test', '*.shop.com', '10.0.0.1', '::1', 'nas.home.arpa', 'intranet'])
    assert.equal(isOrderable(host, false), false, host);
  assert.equal(isOrderable('*.shop.com', true), true);
  assert.equal(isOrderable('*.com', true), false);
  assert.equal(isOrderable('*.a.localhost', true), false);
});

test('a host that DNS does not know is not ordered until it does; one that is to be renewed is told to be in trouble', async () => {
  let orders = 0;
  const dns = new Map<string, readonly string[]>([[HOST, []]]);
  const { context, pass, list } = await bench(
    (its) => async () => {
      orders += 1;
      return issued(its, String(orders));
    },
    dns,
  );
  const domain = async (): Promise<Awaited<ReturnType<typeof list>>[number] | undefined> =>
    (await list()).find(({ host }) => host === HOST);
  await pass();
  await context.clock.advance(300_000);
  await pass();
  assert.equal(orders, 0);
  const waiting = await domain();
  assert.deepEqual([waiting?.state, waiting?.reason, waiting?.addresses], ['waiting', 'DNS has no address for it', []]);
  assert.deepEqual(
    context.events.filter(({ kind }) => kind === 'domain.failed'),
    [],
  );
  dns.set(HOST, ['192.0.2.1', '2001:db8::1']);
  await context.clock.advance(300_000);
  await pass();
  const ordered = await domain();
  assert.deepEqual([ordered?.state, ordered?.reason, ordered?.addresses, orders], ['issued', null, ['192.0.2.1', '2001:db8::1'], 1]);
  dns.set(HOST, []);
  await context.clock.advance(60 * DAY);
  await pass();
  const late = await domain();
  assert.deepEqual([late?.state, late?.reason, orders], ['issued', 'DNS has no address for it', 1]);
  assert.equal(context.events.filter(({ kind }) => kind === 'domain.failed').length, 1);
  await context.close();
});

test('a host on demand is ordered when it is wanted, shown when that came to something or nothing, and forgotten when nobody wants it', async () => {
  const refused = new Set(['no.customer.com']);
  const orders: string[] = [];
  const { context, pass, want, certified, list, source } = await bench((its) => async (host) => {
    orders.push(host);
    if (refused.has(host)) throw new Error('it leads elsewhere');
    return issued(its, host);
  });
  await pass();
  orders.length = 0;
  await want(
    'a.customer.com',
    'a.customer.com',
    'A.customer.com',
    'stranger.com',
    HOST,
    '*.customer.com',
    'no.customer.com',
    'x.customer.localhost',
  );
  assert.deepEqual(certified, []);
  await pass();
  await pass();
  assert.deepEqual(orders, ['a.customer.com', 'no.customer.com', 'no.customer.com'], 'each once, by both proofs where one fails');
  assert.deepEqual(
    certified.toSorted(inOrder),
    ['a.customer.com', 'no.customer.com', 'x.customer.localhost'],
    'who cannot have one gets our own',
  );
  assert.equal(source.of('a.customer.com').chainPem, 'chain a.customer.com');
  const rows = await list();
  assert.deepEqual(
    rows.map(({ host, state, onDemand }) => `${host} ${state} ${onDemand}`),
    ['a.customer.com issued true', 'no.customer.com failed true', `${HOST} issued false`, 'x.customer.localhost local true'],
  );
  await context.clock.advance(25 * 3_600_000);
  await pass();
  assert.deepEqual(certified, ['a.customer.com']);
  assert.deepEqual(
    context.view.list(domainRecords).map(({ document }) => document.id),
    ['a.customer.com', HOST],
  );
  // Renewed as any other; what cannot be renewed is forgotten at its end.
  refused.add('a.customer.com');
  await context.clock.advance(91 * DAY);
  await pass();
  assert.deepEqual(certified, []);
  await context.close();
});

test('a host on demand that a Route names later is one of its own', async () => {
  const { context, pass, want, hosts, list } = await bench((its) => async (host) => issued(its, host));
  await want('a.customer.com');
  await pass();
  hosts.push('a.customer.com');
  await pass();
  await context.clock.advance(25 * 3_600_000);
  await pass();
  assert.equal((await list()).find(({ host }) => host === 'a.customer.com')?.onDemand, false);
  hosts.pop();
  await want('a.customer.com');
  await pass();
  assert.deepEqual(
    (await list()).map(({ host, state, onDemand }) => `${host} ${state} ${onDemand}`),
    ['a.customer.com issued true', `${HOST} issued false`],
  );
  await context.close();
});

test('an App that says yes to everything spends little of what the authority grants', async () => {
  let orders = 0;
  const { context, pass, want } = await bench((its) => async (host) => {
    orders += 1;
    return issued(its, host);
  });
  await pass();
  for (let index = 0; index < 40; index += 1) await want(`h${index}.customer.com`);
  for (let round = 0; round < 30; round += 1) await pass();
  assert.equal(orders, 1 + 21, 'what is routed, and a burst');
  for (let round = 0; round < 5; round += 1) {
    await context.clock.advance(40_000);
    await pass();
  }
  assert.equal(orders, 1 + 26);
  await context.close();
});

test('without an authority a host on demand has a certificate of the own one at once', async () => {
  const { context, pass, want, certified, list } = await bench(null);
  await want('a.customer.com');
  await pass();
  assert.deepEqual(certified, ['a.customer.com']);
  assert.deepEqual(
    (await list()).map(({ host, state, reason }) => `${host} ${state} ${String(reason)}`),
    ['a.customer.com local null', `${HOST} local null`],
  );
  await context.close();
});
