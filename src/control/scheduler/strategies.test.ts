// The strategies against the vectors of Eru's own tests, and against the plain rules that they are fast forms of.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { balanceUsage, drainFirst, fillUp, onEach, spreadEvenly } from './strategies.ts';
import type { Candidate, Spread } from './strategies.ts';

const nodes = (counts: readonly number[], capacities: readonly number[] = counts.map(() => 10)): Candidate[] =>
  counts.map((count, index) => ({ name: `n${index + 1}`, count, capacity: capacities[index] ?? 0, usage: 0, rate: 0 }));
const FOUR = [2, 3, 5, 7];

/** What the Nodes get. */
function gets(spread: Spread): readonly number[] {
  assert.ok(spread.ok, spread.ok ? '' : spread.why);
  return spread.counts;
}
/** What they have in the end, sorted. */
const ends = (candidates: readonly Candidate[], spread: Spread): readonly number[] =>
  gets(spread)
    .map((more, index) => more + (candidates[index]?.count ?? 0))
    .sort((a, b) => a - b);
const code = (spread: Spread): string => (spread.ok ? 'ok' : spread.code);

describe("Eru's vectors", () => {
  test('AUTO', () => {
    const expected: Readonly<Record<number, readonly number[]>> = {
      1: [3, 3, 5, 7],
      2: [3, 4, 5, 7],
      3: [4, 4, 5, 7],
      4: [4, 5, 5, 7],
      29: [11, 11, 12, 12],
      37: [12, 13, 14, 15],
      40: [12, 13, 15, 17],
    };
    for (const [need, final] of Object.entries(expected))
      assert.deepEqual(ends(nodes(FOUR), spreadEvenly(nodes(FOUR), Number(need), 0)), final, need);
    assert.deepEqual(gets(spreadEvenly(nodes([0, 0, 0, 0, 0], [1, 2, 1, 5, 10]), 3, 0)), [0, 1, 0, 1, 1]);
    assert.deepEqual(gets(spreadEvenly(nodes([1, 1, 10], [10, 4, 4]), 5, 0)), [3, 2, 0]);
    assert.deepEqual(gets(spreadEvenly(nodes([2, 2, 4, 0], [4, 5, 4, 10]), 3, 0)), [0, 0, 0, 3]);
    const tight = nodes([3, 5, 7, 10], [3, 4, 5, 10]);
    assert.equal(code(spreadEvenly(tight, 3, 5)), 'insufficient_resource');
    assert.equal(code(spreadEvenly(tight, 3, 6)), 'ok');
    assert.equal(code(spreadEvenly(nodes(FOUR), 41, 0)), 'insufficient_resource');
  });

  test('FILL', () => {
    assert.deepEqual(ends(nodes(FOUR), fillUp(nodes(FOUR), 10, 0)), [10, 10, 10, 10]);
    assert.deepEqual(ends(nodes(FOUR), fillUp(nodes(FOUR), 5, 0)), [5, 5, 5, 7]);
    assert.equal(code(fillUp(nodes(FOUR), 15, 0)), 'insufficient_resource');
    assert.equal(code(fillUp(nodes(FOUR), 1, 0)), 'already_filled');
    assert.equal(code(fillUp(nodes(FOUR), 1, 5)), 'insufficient_resource');
    const growing = nodes([3, 3, 3, 3, 3], [1, 2, 3, 4, 5]);
    assert.deepEqual(gets(fillUp(growing, 4, 3)), [0, 0, 1, 1, 1]);
    assert.equal(code(fillUp(growing, 5, 0)), 'insufficient_resource');
  });

  test('EACH', () => {
    assert.deepEqual(ends(nodes(FOUR), onEach(nodes(FOUR), 1, 0)), [3, 4, 6, 8]);
    assert.equal(code(onEach(nodes(FOUR), 100, 0)), 'insufficient_capacity');
    const growing = nodes([0, 0, 0, 0, 0], [1, 2, 3, 4, 5]);
    assert.equal(code(onEach(growing, 4, 4)), 'insufficient_resource');
    assert.equal(code(onEach(growing, 2, 0)), 'insufficient_resource');
    assert.equal(code(onEach(growing, 2, 6)), 'insufficient_resource');
    assert.deepEqual(gets(onEach(growing, 4, 2)), [0, 0, 0, 4, 4]);
  });

  test('GLOBAL', () => {
    const used = (list: readonly (readonly [number, number, number])[]): Candidate[] =>
      list.map(([usage, rate, capacity], index) => ({ name: `n${index + 1}`, count: 0, usage, rate, capacity }));
    assert.deepEqual(
      gets(
        balanceUsage(
          used([
            [0.8, 0.05, 1],
            [0.5, 0.12, 2],
            [2.2, 0.05, 1],
          ]),
          3,
        ),
      ),
      [1, 2, 0],
    );
    assert.deepEqual(
      gets(
        balanceUsage(
          used([
            [0.8, 0.05, 4],
            [0.5, 0.35, 1],
            [2.2, 0.05, 1],
          ]),
          3,
        ),
      ),
      [2, 1, 0],
    );
    assert.deepEqual(
      gets(
        balanceUsage(
          used([
            [0.8, 0, 20],
            [0.5, 0, 20],
            [2.2, 0, 20],
          ]),
          10,
        ),
      ),
      [0, 10, 0],
    );
    assert.equal(code(balanceUsage(used([[0, 0.1, 2]]), 3)), 'insufficient_resource');
  });

  test('DRAINED', () => {
    const four = nodes(FOUR, [10, 9, 10, 8]);
    assert.deepEqual(gets(drainFirst(four, 1)), [0, 0, 0, 1]);
    assert.deepEqual(gets(drainFirst(four, 10)), [0, 2, 0, 8]);
    assert.deepEqual(gets(drainFirst(four, 25)), [8, 9, 0, 8]);
    assert.deepEqual(ends(four, drainFirst(four, 29)), [7, 12, 12, 15]);
    assert.deepEqual(ends(four, drainFirst(four, 37)), [12, 12, 15, 15]);
    assert.equal(code(drainFirst(four, 38)), 'insufficient_resource');
  });
});

const cluster = fc
  .array(
    fc.record({
      count: fc.nat(8),
      capacity: fc.nat(9),
      usage: fc.integer({ min: 0, max: 20 }).map((value) => value / 10),
      rate: fc.integer({ min: 0, max: 5 }).map((value) => value / 10),
    }),
    { maxLength: 9 },
  )
  .map((list): Candidate[] => list.map((each, index) => ({ ...each, name: `n${index}` })));
const sum = (counts: readonly number[]): number => counts.reduce((all, each) => all + each, 0);

/** The rule of AUTO, one after the other. */
function naive(candidates: readonly Candidate[], need: number, limit: number): readonly number[] | null {
  const given = candidates.map(() => 0);
  for (let step = 0; step < need; step += 1) {
    let best = -1;
    for (const [index, { count, capacity, name }] of candidates.entries()) {
      const has = count + (given[index] ?? 0);
      const left = capacity - (given[index] ?? 0);
      if (left <= 0 || (limit > 0 && has >= limit)) continue;
      const other = candidates[best];
      const before = other === undefined ? Infinity : other.count + (given[best] ?? 0);
      const otherLeft = other === undefined ? 0 : other.capacity - (given[best] ?? 0);
      if (has < before || (has === before && (left > otherLeft || (left === otherLeft && name < (other?.name ?? ''))))) best = index;
    }
    if (best === -1) return null;
    given[best] = (given[best] ?? 0) + 1;
  }
  return given;
}

test('AUTO by level is AUTO one by one', () => {
  fc.assert(
    fc.property(cluster, fc.nat(60), fc.nat(10), (candidates, need, limit) => {
      const spread = spreadEvenly(candidates, need, limit);
      assert.deepEqual(spread.ok ? spread.counts : null, naive(candidates, need, limit));
    }),
    { numRuns: 3_000 },
  );
});

test('no strategy gives a Node more than fits, none gives more or less than was asked, and none looks at the order of the Nodes', () => {
  const strategies: Readonly<Record<string, (candidates: readonly Candidate[], need: number, limit: number) => Spread>> = {
    auto: spreadEvenly,
    fill: fillUp,
    each: onEach,
    global: balanceUsage,
    drained: drainFirst,
  };
  fc.assert(
    fc.property(
      cluster,
      fc.integer({ min: 1, max: 30 }),
      fc.nat(6),
      fc.constantFrom(...Object.keys(strategies)),
      (candidates, need, limit, name) => {
        const strategy = strategies[name];
        assert.ok(strategy !== undefined);
        const spread = strategy(candidates, need, limit);
        const mirrored = strategy(candidates.toReversed(), need, limit);
        assert.equal(spread.ok, mirrored.ok);
        if (!spread.ok || !mirrored.ok) return;
        assert.deepEqual(mirrored.counts.toReversed(), spread.counts);
        for (const [index, count] of spread.counts.entries()) assert.ok(count >= 0 && count <= (candidates[index]?.capacity ?? 0));
        const filled = spread.counts.filter((count) => count > 0).length;
        if (name === 'each') assert.equal(sum(spread.counts), need * (limit === 0 ? candidates.length : limit));
        else if (name === 'fill') assert.ok(limit === 0 || filled <= limit);
        else assert.equal(sum(spread.counts), need);
      },
    ),
    { numRuns: 3_000 },
  );
});
