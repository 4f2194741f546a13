import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { bindCapacity, bindCores, piecesOf, sharePool, withoutCores } from './cores.ts';

test("Eru's vectors of whole cores", () => {
  assert.equal(bindCapacity([400, 200, 400], 200), 5);
  assert.equal(bindCapacity([200, 200, 200], 200), 3);
});

test('what is begun is used up before a whole core is opened, and the split that lets the most in is taken', () => {
  assert.deepEqual(bindCores([100, 100, 40, 60], 30), [{ core: 2, pieces: 30 }]);
  assert.deepEqual(bindCores([100, 100, 20], 30), [{ core: 0, pieces: 30 }]);
  assert.deepEqual(bindCores([100, 100, 50], 150), [
    { core: 0, pieces: 100 },
    { core: 2, pieces: 50 },
  ]);
  // Two whole ones and one in halves, twice.
  assert.equal(bindCapacity([100, 100, 100], 150), 2);
  assert.equal(bindCapacity([100, 100, 100, 100], 170), 2, 'a core for each rest of 0.7');
  assert.equal(bindCapacity([100, 100, 100, 100], 100, 3), 1);
  assert.equal(bindCapacity([100], 0), 0);
  assert.equal(bindCores([100], 0), null);
  assert.equal(bindCores([90], 100), null);
});

test('the share pool is what nobody has to himself', () => {
  assert.deepEqual(sharePool([100, 70, 0, 100]), [0, 3]);
  assert.deepEqual(sharePool([0, 70]), [0, 1]);
  assert.deepEqual([piecesOf(0.3), piecesOf(1.15), piecesOf(0.005)], [30, 115, 0]);
});

const cores = (pieces: readonly number[], maxLength: number): fc.Arbitrary<number[]> => fc.array(fc.constantFrom(...pieces), { maxLength });
const ask = fc.constantFrom(10, 30, 50, 70, 100, 130, 150, 200, 250, 300);

test('the capacity is what fits one after the other until one is refused, and nobody gets what another has', () => {
  fc.assert(
    fc.property(cores([0, 30, 50, 70, 100, 100, 100], 10), ask, fc.constantFrom(0, 0, 1, 2), (start, pieces, reserve) => {
      let free: readonly number[] = start;
      let fits = 0;
      for (;;) {
        const capacity = bindCapacity(free, pieces, reserve);
        const taken = bindCores(free, pieces, reserve);
        assert.equal(taken === null, capacity === 0);
        if (taken === null) break;
        assert.equal(new Set(taken.map(({ core }) => core)).size, taken.length, 'distinct cores');
        assert.equal(
          taken.reduce((sum, each) => sum + each.pieces, 0),
          pieces,
        );
        const left = withoutCores(free, taken);
        assert.ok(left.every((each) => each >= 0));
        assert.equal(bindCapacity(left, pieces, reserve), capacity - 1, `${free.join()} ${pieces}`);
        free = left;
        fits += 1;
      }
      assert.equal(bindCapacity(start, pieces, reserve), fits);
    }),
    { numRuns: 3_000 },
  );
});

/** The most that fit, by trying every way: each takes distinct whole cores and a piece of one other. */
function mostThatFit(free: readonly number[], pieces: number): number {
  const whole = Math.floor(pieces / 100);
  const fraction = pieces % 100;
  let most = 0;
  const choose = (left: readonly number[], from: number, wholes: number, rest: (next: readonly number[]) => number): number => {
    if (wholes === 0) return rest(left);
    let best = 0;
    for (let core = from; core < left.length; core += 1) {
      if (left[core] !== 100) continue;
      best = Math.max(best, choose(left.with(core, 0), core + 1, wholes - 1, rest));
    }
    return best;
  };
  const go = (left: readonly number[]): number =>
    choose(left, 0, whole, (next) => {
      if (fraction === 0) return 1 + go(next);
      let best = 0;
      for (const [core, has] of next.entries()) if (has >= fraction) best = Math.max(best, 1 + go(next.with(core, has - fraction)));
      return best;
    });
  most = go(free);
  return most;
}

test('no other way of giving cores away lets more in', () => {
  fc.assert(
    fc.property(cores([0, 40, 60, 100, 100], 5), fc.constantFrom(40, 60, 100, 140, 200), (free, pieces) => {
      assert.equal(bindCapacity(free, pieces), mostThatFit(free, pieces), `${free.join()} ${pieces}`);
    }),
    { numRuns: 400 },
  );
});
