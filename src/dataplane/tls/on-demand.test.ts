import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../../lib/clock.ts';
import type { FakeClock } from '../../lib/clock.ts';
import { routeKey } from '../../model/route-match.ts';
import { rule } from '../../edge/edge-fixture.ts';
import { createOnDemand } from './on-demand.ts';
import type { OnDemand } from './on-demand.ts';

interface Bench {
  readonly clock: FakeClock;
  readonly onDemand: OnDemand;
  readonly certificates: Set<string>;
  /** `group path host` of each question, and its answer. */
  readonly asked: { readonly text: string; readonly answer: (value: boolean | null) => void }[];
  told: number;
  control: boolean;
}

function bench(): Bench {
  const clock = createFakeClock();
  const certificates = new Set<string>();
  const asked: Bench['asked'] = [];
  const its: Bench = {
    clock,
    certificates,
    asked,
    told: 0,
    control: true,
    onDemand: createOnDemand({
      clock,
      hasCertificate: (name) => certificates.has(name),
      ask: ({ group, path }, host) => {
        const { promise, resolve } = Promise.withResolvers<boolean | null>();
        asked.push({ text: `${group} ${path} ${host}`, answer: resolve });
        return promise;
      },
      canTell: () => its.control,
      tell: () => (its.told += 1),
    }),
  };
  const any = { ...rule('*', 'shops'), policy: { onDemandCertificates: { ask: '/ask' } } };
  its.onDemand.changeRules([any], []);
  return its;
}

/** Whether it has resolved by now. */
async function isOver(wait: Promise<void> | null): Promise<boolean> {
  assert.ok(wait !== null);
  const open = Symbol('open');
  return (await Promise.race([wait, new Promise((resolve) => setImmediate(resolve, open))])) !== open;
}

test('a handshake waits for the word of the App and then for the certificate', async () => {
  const its = bench();
  const { onDemand, asked } = its;
  const first = onDemand.wait('Shop.Example.com');
  const second = onDemand.wait('shop.example.com.');
  assert.deepEqual(
    asked.map(({ text }) => text),
    ['shops /ask shop.example.com'],
    'it is asked once',
  );
  assert.deepEqual(onDemand.wanted(), []);
  asked[0]?.answer(true);
  assert.equal(await isOver(first), false);
  assert.deepEqual([onDemand.wanted(), its.told], [['shop.example.com'], 1]);
  its.certificates.add('shop.example.com');
  onDemand.certified(['other.example.com', 'shop.example.com']);
  assert.ok((await isOver(first)) && (await isOver(second)));
  assert.deepEqual(onDemand.wanted(), []);
  assert.equal(onDemand.wait('shop.example.com'), null);
  await its.clock.advance(60_000);
});

test('no, and no word at all, let the handshake go on at once, and count for a while', async () => {
  const { onDemand, asked, clock } = bench();
  const waits = ['no.example', 'dead.example'].map((host) => onDemand.wait(host));
  asked[0]?.answer(false);
  asked[1]?.answer(null);
  for (const wait of waits) assert.equal(await isOver(wait), true);
  assert.equal(onDemand.wait('no.example'), null);
  assert.equal(onDemand.wait('dead.example'), null);
  await clock.advance(2_001);
  assert.equal(onDemand.wait('no.example'), null);
  assert.notEqual(onDemand.wait('dead.example'), null);
  await clock.advance(30_000);
  assert.notEqual(onDemand.wait('no.example'), null);
  assert.equal(asked.length, 4);
  assert.deepEqual(onDemand.wanted(), []);
});

test('a certificate that does not come is waited for so long and no longer', async () => {
  const { onDemand, asked, clock } = bench();
  const wait = onDemand.wait('slow.example');
  asked[0]?.answer(true);
  assert.equal(await isOver(wait), false);
  await clock.advance(8_000);
  assert.equal(await isOver(wait), true);
  assert.deepEqual(onDemand.wanted(), ['slow.example'], 'control is told all the same');
  const late = onDemand.wait('slow.example');
  assert.equal(asked.length, 1, 'the answer still counts');
  onDemand.stop();
  assert.equal(await isOver(late), true);
});

test('only hosts that nobody else has are asked for, of the Route that covers them most closely', () => {
  const its = bench();
  const { onDemand, asked, certificates } = its;
  const wide = { ...rule('*.wild.example', 'wild'), policy: { onDemandCertificates: { ask: '/w?a=1' } } };
  certificates.add('*.wild.example');
  certificates.add('*.other.example');
  certificates.add('named.example');
  onDemand.changeRules([wide, rule('*.other.example', 'other'), rule('named.example', 'named')], []);
  assert.notEqual(onDemand.wait('a.b.wild.example'), null);
  assert.equal(asked[0]?.text, 'wild /w?a=1 a.b.wild.example');
  for (const name of ['a.other.example', 'named.example', '10.0.0.1', '::1', 'no host', '', '*.wild.example'])
    assert.equal(onDemand.wait(name), null, name);
  its.control = false;
  assert.equal(onDemand.wait('b.wild.example'), null, 'nobody could order it');
  its.control = true;
  onDemand.changeRules([], [routeKey(wide)]);
  assert.equal(onDemand.wait('c.wild.example'), null, 'its Route is another one now');
  onDemand.changeRules([], [routeKey(rule('*', 'shops'))]);
  assert.equal(onDemand.inUse, false);
  assert.equal(onDemand.wait('d.example'), null);
});

test('a flood of names is bounded in questions, waits and memory', async () => {
  const { onDemand, asked, clock } = bench();
  let waits = 0;
  for (let index = 0; index < 1_000; index += 1) if (onDemand.wait(`h${index}.example`) !== null) waits += 1;
  assert.deepEqual([waits, asked.length], [50, 50], 'so many questions at once');
  for (const { answer } of asked) answer(true);
  await clock.advance(0);
  for (let index = 0; index < 1_000; index += 1) if (onDemand.wait('h0.example') !== null) waits += 1;
  assert.equal(waits, 500, 'so many handshakes at once');
  await clock.advance(8_000);
  for (let index = 0; index < 12_000; index += 1) {
    onDemand.wait(`n${index}.example`);
    asked.at(-1)?.answer(true);
    await Promise.resolve();
    await Promise.resolve();
    if (index % 400 === 0) await clock.advance(8_000);
  }
  assert.ok(onDemand.wanted().length <= 1_000);
});
