import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { LogFilter } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import { create, put } from '../../store/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { anInstance, aStatus, callOf, createTestContext, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createInstanceLogs } from './instance-logs.ts';
import { mergeStreams, packPosition, takeMerged, unpackPosition } from './log-position.ts';
import type { AgentLogLine } from './log-position.ts';
import type { LogSources, LogStart } from './log-source.ts';
import { instanceStatusRecords } from './records.ts';

/** Output of Instances as their agents keep it: the cursor of a line is its number. */
class Output implements LogSources {
  readonly lines = new Map<string, AgentLogLine[]>();
  readonly unreachable = new Set<string>();
  readonly ended = new Set<string>();
  #wakers = new Set<() => void>();

  write(id: string, atMs: number, text = `${id} ${atMs}`): void {
    const lines = this.lines.get(id) ?? [];
    lines.push({ atMs, stream: 'stdout', text, cursor: String(lines.length + 1) });
    this.lines.set(id, lines);
    for (const wake of this.#wakers) wake();
  }
  end(id: string): void {
    this.ended.add(id);
    for (const wake of this.#wakers) wake();
  }
  readonly filters: (LogFilter | null)[] = [];
  async *read(spec: InstanceSpec, from: LogStart & { readonly tail: number }): AsyncGenerator<AgentLogLine> {
    this.filters.push(from.filter);
    if (this.unreachable.has(spec.id)) throw new Failure('unavailable', { message: 'no agent' });
    const lines = this.lines.get(spec.id) ?? [];
    yield* from.after === null ? lines.slice(Math.max(0, lines.length - from.tail)) : lines.slice(Number(from.after));
  }
  async *follow(spec: InstanceSpec, { after, filter }: LogStart, signal: AbortSignal): AsyncGenerator<AgentLogLine> {
    this.filters.push(filter);
    let position = after === null ? 0 : Number(after);
    while (!signal.aborted) {
      const line = this.lines.get(spec.id)?.[position];
      if (line !== undefined) {
        position += 1;
        yield line;
      } else if (this.ended.has(spec.id)) return;
      else {
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            this.#wakers.delete(wake);
            resolve();
          };
          this.#wakers.add(wake);
          signal.addEventListener('abort', wake, { once: true });
        });
      }
    }
  }
}

type LogQuery = Partial<Parameters<ReturnType<typeof createInstanceLogs>>[0]['query']>;

function reader(context: TestContext, output: Output, query: LogQuery, lastEventId: string | null = null) {
  const gone = new AbortController();
  const logs = createInstanceLogs(context, { sources: output });
  const call = callOf<typeof table.instances.logs>({
    params: { app: 'shop', environment: 'production' },
    query: { tail: 100, follow: false, ...query },
    body: undefined,
    signal: gone.signal,
    lastEventId,
  });
  const stream = logs(call)[Symbol.asyncIterator]();
  const ids: string[] = [];
  const next = async (): Promise<string | null> => {
    const item = stream.next();
    await context.clock.advance(100);
    const result = await item;
    if (result.done === true) return null;
    if (result.value.id !== null) ids.push(result.value.id);
    return result.value.data.text;
  };
  return {
    ids,
    next,
    take: async (count: number): Promise<(string | null)[]> => {
      const texts: (string | null)[] = [];
      for (let index = 0; index < count; index += 1) texts.push(await next());
      return texts;
    },
    all: async (): Promise<string[]> => {
      const texts: string[] = [];
      for (let text = await next(); text !== null; text = await next()) texts.push(text);
      return texts;
    },
    leave: async (): Promise<void> => {
      gone.abort();
      await stream.return?.();
    },
  };
}

async function withOutput(ids: readonly string[], run: (output: Output, context: TestContext) => Promise<void>): Promise<void> {
  const context = await createTestContext();
  try {
    await seedApp(context);
    for (const [slot, id] of ids.entries()) {
      await context.view.commit(create(instanceSpecRecords, anInstance({ id, slot })), put(instanceStatusRecords, aStatus({ id })));
    }
    await run(new Output(), context);
  } finally {
    await context.close();
  }
}

test('lines of several Instances come in order of time, cut to the tail of all together', () =>
  withOutput(['a', 'b'], async (output, context) => {
    for (const at of [1, 4, 5]) output.write('a', at);
    for (const at of [2, 3, 6]) output.write('b', at);
    assert.deepEqual(await reader(context, output, {}).all(), ['a 1', 'b 2', 'b 3', 'a 4', 'a 5', 'b 6']);
    assert.deepEqual(await reader(context, output, { tail: 2 }).all(), ['a 5', 'b 6']);
    assert.deepEqual(await reader(context, output, { tail: 0 }).all(), []);
  }));

test('what is asked of the lines is asked where they are kept, and refused where it cannot be', () =>
  withOutput(['a'], async (output, context) => {
    output.write('a', 1);
    await reader(context, output, { since: 1, until: 2, grep: 'a+' }).all();
    const following = reader(context, output, { follow: true, grep: 'a+' });
    await following.take(1);
    output.write('a', 2);
    await following.take(1);
    await following.leave();
    assert.deepEqual(output.filters, [{ sinceMs: 1, untilMs: 2, grep: 'a+' }, { grep: 'a+' }, { grep: 'a+' }]);
    const refusals: readonly (readonly [LogQuery, RegExp])[] = [
      [{ grep: '(' }, /The pattern "\("/u],
      [{ grep: '(?=a)' }, /\(\?=a\)/u],
      [{ since: 3, until: 2 }, /later than/u],
      [{ until: 2, follow: true }, /Leave one|where the lines end/u],
    ];
    for (const [query, message] of refusals)
      await assert.rejects(
        reader(context, output, query).all(),
        (error) => isFailure(error, 'invalid_input') && message.test(error.message),
      );
  }));

test('a reader that comes back goes on exactly where it was, in every Instance', () =>
  withOutput(['a', 'b'], async (output, context) => {
    for (const at of [1, 3, 5, 7]) output.write('a', at);
    for (const at of [2, 4, 6, 8]) output.write('b', at);
    const first = reader(context, output, { tail: 6 });
    assert.deepEqual(await first.take(2), ['a 3', 'b 4']);
    await first.leave();
    assert.deepEqual(await reader(context, output, { tail: 6 }, first.ids.at(-1)).all(), ['a 5', 'b 6', 'a 7', 'b 8']);
    const following = reader(context, output, { follow: true }, first.ids.at(-1));
    assert.deepEqual(await following.take(4), ['a 5', 'b 6', 'a 7', 'b 8']);
    await following.leave();
  }));

test('following takes in Instances that start later, from their first line, also over a reconnect', () =>
  withOutput(['a'], async (output, context) => {
    output.write('a', 1);
    const first = reader(context, output, { follow: true });
    assert.equal(await first.next(), 'a 1');
    await context.clock.advance(10);
    const late = anInstance({ id: 'late', slot: 1, createdAtMs: context.clock.now() });
    await context.view.commit(create(instanceSpecRecords, late));
    output.write('late', 2);
    assert.equal(await first.next(), 'late 2');
    await first.leave();
    output.write('late', 3);
    const later = anInstance({ id: 'later', slot: 2, createdAtMs: context.clock.now() });
    await context.view.commit(create(instanceSpecRecords, later));
    output.write('later', 4);
    const second = reader(context, output, { follow: true }, first.ids.at(-1));
    assert.deepEqual(new Set(await second.take(2)), new Set(['late 3', 'later 4']));
    await second.leave();
  }));

test('following one Instance ends with it', () =>
  withOutput(['a'], async (output, context) => {
    output.write('a', 1);
    const follower = reader(context, output, { instance: 'a', follow: true });
    assert.equal(await follower.next(), 'a 1');
    output.write('a', 2);
    output.end('a');
    assert.deepEqual(await follower.all(), ['a 2']);
  }));

test('without a running one, the last Instance of each slot is shown; a named one in any case', () =>
  withOutput(['old', 'new'], async (output, context) => {
    for (const [id, createdAtMs] of [
      ['x1', 10],
      ['x2', 20],
    ] as const) {
      await context.view.commit(
        create(instanceSpecRecords, anInstance({ id, slot: 7, createdAtMs })),
        put(instanceStatusRecords, aStatus({ id, phase: 'failed', healthy: false })),
      );
      output.write(id, 1);
    }
    assert.deepEqual(await reader(context, output, {}).all(), ['x2 1']);
    assert.deepEqual(await reader(context, output, { instance: 'x1' }).all(), ['x1 1']);
    await assert.rejects(reader(context, output, { instance: 'x' }).all(), (error) => isFailure(error, 'invalid_input'));
    await assert.rejects(reader(context, output, { instance: 'none' }).all(), (error) => isFailure(error, 'not_found'));
  }));

test('a Node that does not answer hides only its own Instances; where none answers that is said', () =>
  withOutput(['a', 'b'], async (output, context) => {
    output.write('a', 1);
    output.write('b', 2);
    output.unreachable.add('a');
    assert.deepEqual(await reader(context, output, {}).all(), ['b 2']);
    output.unreachable.add('b');
    await assert.rejects(reader(context, output, {}).all(), (error) => isFailure(error, 'unavailable'));
  }));

test('an id that is not of this stream is refused', () =>
  withOutput(['a'], async (output, context) => {
    for (const id of ['x', Buffer.from('[1,{"a":5}]').toString('base64url'), Buffer.from('{}').toString('base64url')]) {
      await assert.rejects(reader(context, output, {}, id).all(), (error) => isFailure(error, 'invalid_input'));
    }
  }));

test('a position survives its packing', () => {
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.tuple(fc.uuid(), fc.option(fc.string()))), (startedAtMs, cursors) => {
      const position = { startedAtMs, cursors: new Map(cursors) };
      assert.deepEqual(unpackPosition(packPosition(position)), position);
    }),
  );
});

test('merging keeps every line and the order within each source, and is by time where the sources are', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.nat(20), { maxLength: 10 }), { maxLength: 5 }), async (sources) => {
      const tagged = sources.map((times, source) => times.map((atMs, index) => ({ atMs, source, index })));
      async function* streamOf<T>(items: readonly T[]): AsyncGenerator<T> {
        yield* items;
      }
      const streamed: (typeof tagged)[number] = [];
      for await (const item of mergeStreams(tagged.map(streamOf), (line) => line.atMs)) streamed.push(item);
      const taken = takeMerged(
        tagged.map((items) => [...items]),
        (line) => line.atMs,
      );
      assert.deepEqual(streamed, taken);
      assert.equal(taken.length, tagged.flat().length);
      for (const source of tagged.keys()) {
        assert.deepEqual(
          taken.filter((item) => item.source === source).map((item) => item.index),
          [...(tagged[source] ?? []).keys()],
        );
      }
      const sorted = tagged.map((items) => [...items].sort((a, b) => a.atMs - b.atMs));
      const times = takeMerged(sorted, (line) => line.atMs).map((line) => line.atMs);
      assert.deepEqual(
        times,
        [...times].sort((a, b) => a - b),
      );
    }),
  );
});
