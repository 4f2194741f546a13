import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import * as fc from 'fast-check';
import type { LogLine } from '../../driver/contract.ts';
import { createFakeClock } from '../../lib/clock.ts';
import type { FakeClock } from '../../lib/clock.ts';
import { systemRandom } from '../../lib/id.ts';
import { silentLog } from '../../sys/log.ts';
import { startForwarder, targetOf } from './forwarder.ts';
import type { Forwarder, LineSource } from './forwarder.ts';
import type { ForwardedLine } from './line.ts';
import type { Sink } from './sink.ts';

const folder = mkdtempSync(join(tmpdir(), 'libra-forward-'));
after(() => rmSync(folder, { recursive: true }));

const cursorOf = (index: number): string => String(index).padStart(8, '0');

/** Output that grows; the place of a line is its number. */
class Output {
  readonly lines: LogLine[] = [];
  readonly source: LineSource;
  constructor(instance: string) {
    const { lines } = this;
    this.source = {
      owner: { instance, app: 'shop', environment: 'production', entrypoint: 'web', slot: 0, role: 'service', node: 'n1' },
      read: async function* read(from) {
        yield* lines.slice(from === null ? 0 : Number(from) + 1);
      },
    };
  }
  write(count: number): void {
    for (let more = 0; more < count; more += 1) {
      const index = this.lines.length;
      this.lines.push({ atMs: index, stream: 'stdout', text: `line ${index}`, cursor: cursorOf(index) });
    }
  }
}

/** Lets the time pass, and then all that has become possible happen. */
const passing =
  (clock: FakeClock) =>
  async (ms: number): Promise<void> => {
    await clock.advance(ms);
    await setImmediate();
  };

let files = 0;
const newFile = (): string => join(folder, `${(files += 1)}.json`);

function forwarding(given: {
  readonly clock: FakeClock;
  readonly outputs: readonly Output[];
  readonly send: Sink['send'];
  readonly names?: readonly string[];
  readonly file?: string;
}): Forwarder {
  const { clock, outputs, send, names = ['x'], file = newFile() } = given;
  return startForwarder({
    targets: names.map((name) => ({ name, sink: { send, close: () => undefined } })),
    sources: () => outputs.map(({ source }) => source),
    isKnown: () => true,
    file,
    clock,
    random: systemRandom,
    log: silentLog,
  });
}

type Fate = 'taken' | 'refused' | 'taken and then broken';

test('whatever fails and whenever it is started anew, every line arrives, in order, and what comes again can be told', async () => {
  const step = fc.oneof(
    fc.record({ write: fc.nat(1200), to: fc.nat(2) }),
    fc.constantFrom<Fate>('taken', 'refused', 'taken and then broken'),
    fc.constant('restart' as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const clock = createFakeClock();
      const pass = passing(clock);
      const outputs = ['a', 'b', 'c'].map((id) => new Output(id));
      const received: ForwardedLine[] = [];
      let fates: Fate[] = [];
      const file = newFile();
      const begin = () =>
        forwarding({
          clock,
          outputs,
          file,
          names: ['x', 'y'],
          send: async (lines) => {
            const fate = fates.shift() ?? 'taken';
            if (fate !== 'refused') received.push(...lines);
            if (fate !== 'taken') throw new Error(fate);
            return 0;
          },
        });
      let forwarder = begin();
      for (const each of steps) {
        if (each === 'restart') {
          await forwarder.stop();
          forwarder = begin();
        } else if (typeof each === 'string') fates.push(each);
        else outputs[each.to]?.write(each.write);
        await pass(300);
      }
      fates = [];
      for (let wait = 0; wait < 40; wait += 1) await pass(1000);
      assert.ok(forwarder.status().every(({ failing }) => failing === null));
      await forwarder.stop();
      for (const { lines, source } of outputs) {
        const mine = received.filter(({ owner }) => owner.instance === source.owner.instance).map(({ line }) => line.cursor);
        const fresh: string[] = [];
        for (const cursor of mine) if (fresh.length === 0 || cursor > (fresh.at(-1) ?? '')) fresh.push(cursor);
        assert.deepEqual(
          fresh,
          lines.map(({ cursor }) => cursor),
        );
      }
    }),
    { numRuns: 60 },
  );
});

test('a noisy Instance does not hold up the others, and a failure says so until it is over', async () => {
  const clock = createFakeClock();
  const [noisy, quiet] = [new Output('noisy'), new Output('quiet')];
  noisy.write(10_000);
  quiet.write(1);
  const batches: ForwardedLine[][] = [];
  let isAway = true;
  const forwarder = forwarding({
    clock,
    outputs: [noisy, quiet],
    send: async (lines) => {
      if (isAway) throw new Error('nobody is there');
      batches.push([...lines]);
      return 1;
    },
  });
  await passing(clock)(1000);
  assert.deepEqual(forwarder.status(), [{ target: 'x', lines: 0, lost: 0, failing: 'nobody is there' }]);
  isAway = false;
  for (let wait = 0; wait < 40; wait += 1) await passing(clock)(1000);
  assert.ok(
    batches[0]?.some(({ owner }) => owner.instance === 'quiet'),
    'it is in the first batch',
  );
  assert.ok(batches.every((batch) => batch.length <= 2000));
  assert.deepEqual(forwarder.status(), [{ target: 'x', lines: 10_001, lost: batches.length, failing: null }]);
  await forwarder.stop();
});

test('what an ended Instance has written is delivered before it goes, or counted as lost', async () => {
  const clock = createFakeClock();
  const output = new Output('a');
  const received: string[] = [];
  let isAway = false;
  const forwarder = forwarding({
    clock,
    outputs: [output],
    send: async (lines) => {
      if (isAway) throw new Error('nobody is there');
      received.push(...lines.map(({ line }) => line.text));
      return 0;
    },
  });
  const finished = async (): Promise<boolean> => {
    let isDone = false;
    void forwarder.finish('a', 10_000).then(() => (isDone = true));
    for (let wait = 0; wait < 11 && !isDone; wait += 1) await passing(clock)(1000);
    return isDone;
  };
  await passing(clock)(1000);
  output.write(1300);
  assert.ok(await finished());
  assert.equal(received.length, 1300);
  isAway = true;
  output.write(7);
  assert.ok(await finished());
  assert.equal(forwarder.status()[0]?.lost, 7);
  await forwarder.finish('nobody', 10_000);
  await forwarder.stop();
  await forwarder.finish('a', 10_000);
});

test('a damaged file of places is none', async () => {
  const clock = createFakeClock();
  const output = new Output('a');
  output.write(2);
  const file = newFile();
  for (const text of ['', '{', '{"places":3}', '{"places":{"a":4}}']) {
    writeFileSync(file, text);
    const received: string[] = [];
    const forwarder = forwarding({
      clock,
      outputs: [output],
      file,
      send: async (lines) => {
        received.push(...lines.map(({ line }) => line.text));
        return 0;
      },
    });
    await passing(clock)(2000);
    await forwarder.stop();
    assert.deepEqual(received, ['line 0', 'line 1'], text);
  }
});

test('where the places cannot be kept on disk, output flows all the same', async () => {
  const clock = createFakeClock();
  const output = new Output('a');
  const received: string[] = [];
  const forwarder = forwarding({
    clock,
    outputs: [output],
    file: join(folder, 'not-there/places.json'),
    send: async (lines) => {
      received.push(...lines.map(({ line }) => line.text));
      return 0;
    },
  });
  for (let second = 0; second < 5; second += 1) {
    output.write(1);
    await passing(clock)(1000);
  }
  assert.deepEqual(received, ['line 0', 'line 1', 'line 2', 'line 3', 'line 4']);
  await forwarder.stop();
});

test('Instances are spread over targets, and few move when one is added', () => {
  const ids = Array.from({ length: 3000 }, (_, index) => `instance-${index}`);
  const counts = [0, 0, 0];
  let moved = 0;
  for (const id of ids) {
    const before = targetOf(id, ['x', 'y', 'z']);
    counts[before] = (counts[before] ?? 0) + 1;
    const now = targetOf(id, ['x', 'y', 'z', 'new']);
    if (now !== before) {
      moved += 1;
      assert.equal(now, 3, 'only to the new one');
    }
  }
  assert.ok(
    counts.every((count) => count > 850 && count < 1150),
    counts.join(),
  );
  assert.ok(moved > 600 && moved < 900, String(moved));
});
