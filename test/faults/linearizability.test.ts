import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { checkHistory, kvModel } from '../fixtures/linearizability.ts';
import type { KvInput, KvOutput, Operation } from '../fixtures/linearizability.ts';

type Step = Operation<KvInput, KvOutput>;

const get = (calledMs: number, answeredMs: number, found: string | null): Step => ({
  calledMs,
  answeredMs,
  input: { do: 'get' },
  output: { found },
});
const put = (calledMs: number, answeredMs: number, value: string): Step => ({
  calledMs,
  answeredMs,
  input: { do: 'put', value },
  output: answeredMs === Number.POSITIVE_INFINITY ? null : { done: true },
});
const swap = (calledMs: number, answeredMs: number, expected: string | null, value: string, done: boolean): Step => ({
  calledMs,
  answeredMs,
  input: { do: 'swap', expected, value },
  output: { done },
});
const NEVER = Number.POSITIVE_INFINITY;
const isGood = (...history: readonly Step[]): boolean => checkHistory(kvModel, history).ok;

describe('what can be explained', () => {
  test('one after the other', () => assert.ok(isGood(put(0, 1, 'a'), get(2, 3, 'a'), put(4, 5, 'b'), get(6, 7, 'b'))));
  test('a read beside a write sees what was before or after', () => {
    assert.ok(isGood(put(0, 1, 'a'), put(2, 10, 'b'), get(3, 4, 'a'), get(5, 6, 'b')));
    assert.ok(isGood(put(0, 1, 'a'), put(2, 10, 'b'), get(3, 9, 'b')));
  });
  test('two writes beside each other in either order', () => {
    assert.ok(isGood(put(0, 10, 'a'), put(0, 10, 'b'), get(11, 12, 'a')));
    assert.ok(isGood(put(0, 10, 'a'), put(0, 10, 'b'), get(11, 12, 'b')));
  });
  test('a write without an answer at once, much later, or never', () => {
    assert.ok(isGood(put(0, NEVER, 'a'), get(1, 2, 'a')));
    assert.ok(isGood(put(0, NEVER, 'a'), get(1, 2, null), get(100, 101, 'a')));
    assert.ok(isGood(put(0, NEVER, 'a'), get(1, 2, null), put(3, 4, 'b'), get(5, 6, 'b')));
  });
  test('the end of its time, whenever it came', () => {
    const end: Step = { calledMs: 5, answeredMs: NEVER, input: { do: 'expire', value: 'a' }, output: null };
    assert.ok(isGood(put(0, 1, 'a'), end, get(6, 7, 'a'), get(8, 9, null)));
    assert.ok(isGood(put(0, 1, 'a'), end, put(6, 7, 'b'), get(8, 9, 'b')));
  });
});

describe('what cannot', () => {
  test('a read of the past, though the write was answered', () => {
    assert.deepEqual(checkHistory(kvModel, [put(0, 1, 'a'), put(2, 3, 'b'), get(4, 5, 'a')]), { ok: false, explained: 2, stuck: [2] });
  });
  test('a write that is seen and then not any more', () => {
    assert.ok(!isGood(put(0, 1, 'a'), put(2, 10, 'b'), get(3, 4, 'b'), get(5, 6, 'a')));
  });
  test('two compare-and-sets that both found the same', () => {
    assert.ok(!isGood(put(0, 1, 'a'), swap(2, 9, 'a', 'b', true), swap(2, 9, 'a', 'c', true)));
    assert.ok(!isGood(swap(0, 9, null, 'b', true), swap(0, 9, null, 'c', true)));
  });
  test('a compare-and-set refused though nobody else was there', () => assert.ok(!isGood(put(0, 1, 'a'), swap(2, 3, 'a', 'b', false))));
  test('an acknowledged write that is lost', () => assert.ok(!isGood(put(0, 1, 'a'), get(2, 3, null))));
  test('what nobody wrote', () => assert.ok(!isGood(put(0, 1, 'a'), get(2, 3, 'b'))));
  test('an end before its time', () => {
    const end: Step = { calledMs: 5, answeredMs: NEVER, input: { do: 'expire', value: 'a' }, output: null };
    assert.ok(!isGood(put(0, 1, 'a'), end, get(2, 3, null)));
  });
  test('a write without an answer that is done twice', () => {
    assert.ok(!isGood(put(0, NEVER, 'a'), get(1, 2, 'a'), put(3, 4, 'b'), get(5, 6, 'b'), get(7, 8, 'a')));
  });
});

interface Made {
  readonly history: Step[];
  /** What the reads really found, by their place in the history. */
  readonly reads: readonly number[];
}

/** A history as a real map would make it: each operation takes effect at a moment that is known here, and only here. */
function real(moments: readonly { readonly kind: number; readonly at: number; readonly early: number; readonly late: number }[]): Made {
  let value: string | null = null;
  const history: Step[] = [];
  const reads: number[] = [];
  for (const [index, { kind, at, early, late }] of moments.toSorted((a, b) => a.at - b.at).entries()) {
    const [calledMs, answeredMs] = [at - early, at + late];
    if (kind === 0) {
      reads.push(index);
      history.push(get(calledMs, answeredMs, value));
    } else if (kind === 1) {
      value = `v${index}`;
      history.push(put(calledMs, late > 15 ? NEVER : answeredMs, value));
    } else {
      const expected = kind === 2 ? value : 'another';
      history.push(swap(calledMs, answeredMs, expected, `v${index}`, kind === 2));
      if (kind === 2) value = `v${index}`;
    }
  }
  return { history, reads };
}

const moments = fc.array(
  fc.record({
    kind: fc.integer({ min: 0, max: 3 }),
    at: fc.double({ min: 0, max: 100, noNaN: true }),
    early: fc.double({ min: 0, max: 20, noNaN: true }),
    late: fc.double({ min: 0, max: 20, noNaN: true }),
  }),
  { maxLength: 60 },
);

test('whatever really happened is explained, and not when a read is said to have found what was never there', () => {
  fc.assert(
    fc.property(moments, fc.nat(), (list, pick) => {
      const { history, reads } = real(list);
      assert.deepEqual(checkHistory(kvModel, history), { ok: true });
      const at = reads[pick % Math.max(1, reads.length)];
      const read = at === undefined ? undefined : history[at];
      if (at === undefined || read === undefined) return;
      assert.equal(checkHistory(kvModel, history.with(at, { ...read, output: { found: 'never written' } })).ok, false);
    }),
    { numRuns: 300 },
  );
});

/** Every order of every choice of those without an answer: slow, and nothing to get wrong. */
function explains(history: readonly Step[], left: readonly number[], value: string | null): boolean {
  const finite = left.filter((index) => history[index]?.answeredMs !== NEVER);
  if (finite.length === 0) return true;
  const untilMs = Math.min(...finite.map((index) => history[index]?.answeredMs ?? NEVER));
  return left.some((index) => {
    const one = history[index];
    if (one === undefined || one.calledMs > untilMs) return false;
    const next = kvModel.step({ value }, one.input, one.output);
    return (
      next !== null &&
      explains(
        history,
        left.filter((each) => each !== index),
        next.value,
      )
    );
  });
}

test('the verdict is that of trying every order', () => {
  const time = fc.integer({ min: 0, max: 12 });
  const text = fc.constantFrom('a', 'b');
  const step = fc
    .record({
      from: time,
      takes: fc.integer({ min: 0, max: 6 }),
      isLost: fc.boolean(),
      what: fc.integer({ min: 0, max: 3 }),
      text,
      found: fc.option(text),
      done: fc.boolean(),
    })
    .map(({ from, takes, isLost, what, text: value, found, done }): Step => {
      const input: KvInput =
        what === 0
          ? { do: 'get' }
          : what === 1
            ? { do: 'put', value }
            : what === 2
              ? { do: 'swap', expected: found, value }
              : { do: 'delete' };
      const lost = isLost && what !== 0;
      return { calledMs: from, answeredMs: lost ? NEVER : from + takes, input, output: lost ? null : what === 0 ? { found } : { done } };
    });
  const verdicts = { true: 0, false: 0 };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), (history) => {
      const { ok } = checkHistory(kvModel, history);
      verdicts[`${ok}`] += 1;
      assert.equal(ok, explains(history, [...history.keys()], null));
    }),
    { numRuns: 2000 },
  );
  assert.ok(verdicts.true > 100 && verdicts.false > 100, JSON.stringify(verdicts));
});
