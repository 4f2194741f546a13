import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { silentLog } from '../sys/log.ts';
import { createContact } from './contact.ts';
import { newInstanceState } from './instance-state.ts';
import type { InstanceEvent } from './machine.ts';
import { desiredInstance } from './testing.ts';

/** A clock of a process that stands still now and then: time goes by, and timers fire only when they are let. */
function createStoppableClock(): Clock & { pass(ms: number): void; fire(): void } {
  let now = 0;
  let due = (): void => undefined;
  return {
    now: () => now,
    monotonic: () => now,
    sleep: () => new Promise(() => undefined),
    timer: (_ms, callback) => {
      due = callback;
      return () => undefined;
    },
    pass: (ms) => {
      now += ms;
    },
    fire: () => due(),
  };
}

function setUp(attend: (forMs: number) => Promise<void> = async () => undefined) {
  const clock = createStoppableClock();
  const spec = desiredInstance({ singleton: true, disconnect: { stopAfterMs: 10_000, replaceAfterMs: 30_000 } });
  const attended: number[] = [];
  let cutOff = false;
  const supervisor = {
    spec: () => spec,
    state: () => ({ ...newInstanceState(spec), cutOff }),
    send: (event: InstanceEvent) => {
      assert.ok(event.kind === 'cut-off');
      cutOff = event.value;
    },
    running: () => ({
      driver: {
        attend: (_handle: unknown, forMs: number) => {
          attended.push(forMs);
          return attend(forMs);
        },
      },
      handle: {},
      run: null,
    }),
  };
  // Of a supervisor only what is used here.
  const all = () => [supervisor] as unknown as ReturnType<Parameters<typeof createContact>[2]['all']>;
  const contact = createContact(clock, silentLog, { all });
  return { clock, contact, attended, isCutOff: () => cutOff };
}

test('after too long a silence what must not run twice is cut off, and a snapshot brings it back', () => {
  const { clock, contact, isCutOff } = setUp();
  clock.pass(9_000);
  assert.equal(contact.heard(false), true);
  clock.pass(10_000);
  clock.fire();
  assert.equal(isCutOff(), true);
  assert.equal(contact.heard(true), true);
  assert.equal(isCutOff(), false);
});

test('an agent that stood still does not take what lay in its buffers for a word of now', () => {
  const { clock, contact, isCutOff, attended } = setUp();
  assert.equal(contact.heard(true), true);
  clock.pass(60_000);
  // The ping comes before any timer has had its turn.
  assert.equal(contact.heard(false), false);
  assert.equal(isCutOff(), true);
  assert.deepEqual(attended, [17_500]);
  assert.equal(contact.heard(true), true);
  assert.equal(isCutOff(), false);
});

test('whoever runs it is told until when, at most once a second, and not again where that is not known', async () => {
  const { clock, contact, attended } = setUp(async () => {
    throw new Failure('unsupported', { message: 'What is that?' });
  });
  contact.heard(true);
  contact.heard(false);
  assert.deepEqual(attended, [17_500]);
  await Promise.resolve();
  await Promise.resolve();
  clock.pass(2_000);
  contact.heard(false);
  assert.deepEqual(attended, [17_500]);
});
