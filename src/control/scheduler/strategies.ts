// How many of a number of equal Instances each Node gets. The definitions are Eru's (projecteru2/core, `strategy`), made exact where that
// leaves a tie to chance: the name of the Node decides last. A strategy never gives a Node more than fits there.

export interface Candidate {
  /** Unique. */
  readonly name: string;
  /** Of the same kind that are there already, those on their way included. */
  readonly count: number;
  /** How many more fit. */
  readonly capacity: number;
  /** Share of the Node that is given away, and what one more would add to it; above 1 where it is over-committed. */
  readonly usage: number;
  readonly rate: number;
}

export type Spread =
  /** How many each candidate gets, in the order of the candidates. */
  | {
      readonly ok: true;
      readonly counts: readonly number[];
      /**
       * Which candidates get one, one after the other, as if each had been placed alone: where a Plan is carried out in part, a new one
       * says the rest of it. Made when it is asked for.
       */
      readonly sequence: () => readonly number[];
    }
  | { readonly ok: false; readonly code: 'insufficient_resource' | 'insufficient_capacity' | 'already_filled'; readonly why: string };

const refuse = (code: Exclude<Spread, { ok: true }>['code'], why: string): Spread => ({ ok: false, code, why });
const byName = (a: Candidate, b: Candidate): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

function order(candidates: readonly Candidate[], compare: (a: Candidate, b: Candidate) => number): readonly number[] {
  return candidates
    .map((candidate, index) => ({ candidate, index }))
    .sort((a, b) => compare(a.candidate, b.candidate) || byName(a.candidate, b.candidate))
    .map(({ index }) => index);
}

const total = (candidates: readonly Candidate[]): number => candidates.reduce((sum, { capacity }) => sum + capacity, 0);
const notEnough = (have: number, need: number): Spread =>
  refuse('insufficient_resource', `there is room for ${have}, and ${need} are asked`);

/**
 * Evenly: again and again to the one that has the fewest, of equals to the one with the most room. All at once, by the level up to which
 * the counts are filled like vessels with water, and its rest by the rule.
 *
 * @param limit most that a Node may have in the end, those that are there included; 0: no bound.
 */
export function spreadEvenly(candidates: readonly Candidate[], need: number, limit: number): Spread {
  const have = total(candidates);
  if (have < need) return notEnough(have, need);
  // What may still be given to each.
  const room = candidates.map(({ count, capacity }) => (limit > 0 ? Math.max(0, Math.min(capacity, limit - count)) : capacity));
  const allowed = room.reduce((sum, each) => sum + each, 0);
  if (allowed < need)
    return refuse('insufficient_resource', `a Node may have ${limit} at most, so that there is room for ${allowed}, and ${need} are asked`);
  const given = (level: number): number => {
    let sum = 0;
    for (let index = 0; index < room.length; index += 1) {
      const lacks = level - (candidates[index]?.count ?? 0);
      if (lacks > 0) sum += Math.min(lacks, room[index] ?? 0);
    }
    return sum;
  };
  let low = 0;
  let high = need + candidates.reduce((most, { count }) => Math.max(most, count), 0) + 1;
  // The highest level that takes no more than there is.
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (given(middle) <= need) low = middle;
    else high = middle;
  }
  const counts = candidates.map(({ count }, index) => Math.max(0, Math.min(low - count, room[index] ?? 0)));
  let rest = need - counts.reduce((sum, each) => sum + each, 0);
  const spread: Spread = { ok: true, counts, sequence: () => byLevel(candidates, counts) };
  if (rest === 0) return spread;
  const atLevel = candidates
    .map((candidate, index) => ({ name: candidate.name, index, left: candidate.capacity - (counts[index] ?? 0) }))
    .filter(({ index }) => (candidates[index]?.count ?? 0) + (counts[index] ?? 0) === low && (room[index] ?? 0) > (counts[index] ?? 0))
    .sort((a, b) => b.left - a.left || (a.name < b.name ? -1 : 1));
  for (const { index } of atLevel) {
    if (rest === 0) break;
    counts[index] = (counts[index] ?? 0) + 1;
    rest -= 1;
  }
  return spread;
}

/**
 * Until each of some Nodes has so many, those that have the most already first.
 *
 * @param need on each. @param nodes how many of them; 0: all.
 */
export function fillUp(candidates: readonly Candidate[], need: number, nodes: number): Spread {
  const wanted = nodes === 0 ? candidates.length : nodes;
  if (candidates.length < wanted) return refuse('insufficient_resource', `there are ${candidates.length} Nodes, and ${wanted} are asked`);
  const counts = candidates.map(() => 0);
  let left = wanted;
  let added = 0;
  const inOrder = order(candidates, (a, b) => b.count - a.count || b.capacity - a.capacity);
  for (const index of inOrder) {
    const { count = 0, capacity = 0 } = candidates[index] ?? {};
    if (left === 0) break;
    if (count + capacity < need) continue;
    const lacks = Math.max(need - count, 0);
    counts[index] = lacks;
    added += lacks;
    left -= 1;
  }
  if (left > 0) return refuse('insufficient_resource', `${wanted - left} Nodes can have ${need} each, and ${wanted} are asked`);
  if (added === 0) return refuse('already_filled', `each of the Nodes has ${need} already`);
  return { ok: true, counts, sequence: () => nodeByNode(inOrder, counts) };
}

/**
 * The same number on each of some Nodes, those with the most room first.
 *
 * @param need on each, beside those that are there. @param nodes how many of them; 0: all.
 */
export function onEach(candidates: readonly Candidate[], need: number, nodes: number): Spread {
  const wanted = nodes === 0 ? candidates.length : nodes;
  if (candidates.length < wanted) return refuse('insufficient_resource', `there are ${candidates.length} Nodes, and ${wanted} are asked`);
  const able = order(candidates, (a, b) => b.capacity - a.capacity).filter((index) => (candidates[index]?.capacity ?? 0) >= need);
  if (able.length === 0) return refuse('insufficient_capacity', `no Node has room for ${need}`);
  if (able.length < wanted) return refuse('insufficient_resource', `${able.length} Nodes have room for ${need}, and ${wanted} are asked`);
  const counts = candidates.map(() => 0);
  for (const index of able.slice(0, wanted)) counts[index] = need;
  return { ok: true, counts, sequence: () => nodeByNode(able, counts) };
}

/** One after the other to the Node that is the least used with it. */
export function balanceUsage(candidates: readonly Candidate[], need: number): Spread {
  const have = total(candidates);
  if (have < need) return notEnough(have, need);
  const counts = candidates.map(() => 0);
  const sequence: number[] = [];
  const heap = new Heap((a, b) => a.usage - b.usage || byName(candidates[a.index] ?? NOBODY, candidates[b.index] ?? NOBODY));
  for (const [index, { usage, rate, capacity }] of candidates.entries()) if (capacity > 0) heap.push({ index, usage: usage + rate });
  for (let step = 0; step < need; step += 1) {
    const first = heap.pop();
    if (first === null) return notEnough(step, need);
    const { index, usage } = first;
    const { rate = 0, capacity = 0 } = candidates[index] ?? {};
    const count = (counts[index] ?? 0) + 1;
    counts[index] = count;
    sequence.push(index);
    if (count < capacity) heap.push({ index, usage: usage + rate });
  }
  return { ok: true, counts, sequence: () => sequence };
}

/** Node by node to its end, the one with the least room first: so the others stay free. */
export function drainFirst(candidates: readonly Candidate[], need: number): Spread {
  const have = total(candidates);
  if (have < need) return notEnough(have, need);
  const counts = candidates.map(() => 0);
  let left = need;
  const inOrder = order(candidates, (a, b) => a.capacity - b.capacity || b.usage - a.usage);
  for (const index of inOrder) {
    const gets = Math.min(left, candidates[index]?.capacity ?? 0);
    counts[index] = gets;
    left -= gets;
  }
  return { ok: true, counts, sequence: () => nodeByNode(inOrder, counts) };
}

function nodeByNode(inOrder: readonly number[], counts: readonly number[]): readonly number[] {
  return inOrder.flatMap((index) => Array.from({ length: counts[index] ?? 0 }, () => index));
}

function byLevel(candidates: readonly Candidate[], counts: readonly number[]): readonly number[] {
  const steps: { readonly index: number; readonly level: number; readonly left: number; readonly name: string }[] = [];
  for (const [index, more] of counts.entries()) {
    const { count = 0, capacity = 0, name = '' } = candidates[index] ?? {};
    for (let step = 0; step < more; step += 1) steps.push({ index, level: count + step, left: capacity - step, name });
  }
  return steps.sort((a, b) => a.level - b.level || b.left - a.left || (a.name < b.name ? -1 : 1)).map(({ index }) => index);
}

const NOBODY: Candidate = { name: '', count: 0, capacity: 0, usage: 0, rate: 0 };

interface Entry {
  readonly index: number;
  readonly usage: number;
}

/** A binary heap, the least first. */
class Heap {
  readonly #entries: Entry[] = [];
  readonly #compare: (a: Entry, b: Entry) => number;

  constructor(compare: (a: Entry, b: Entry) => number) {
    this.#compare = compare;
  }

  push(entry: Entry): void {
    const entries = this.#entries;
    let at = entries.length;
    entries.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = entries[parent];
      if (above === undefined || this.#compare(above, entry) <= 0) break;
      entries[at] = above;
      at = parent;
    }
    entries[at] = entry;
  }

  pop(): Entry | null {
    const entries = this.#entries;
    const [first = null] = entries;
    const last = entries.pop();
    if (first === null || last === undefined || entries.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = entries[2 * at + 1];
      const right = entries[2 * at + 2];
      const isRight = left !== undefined && right !== undefined && this.#compare(right, left) < 0;
      const least = isRight ? right : left;
      if (least === undefined || this.#compare(last, least) <= 0) break;
      entries[at] = least;
      at = 2 * at + (isRight ? 2 : 1);
    }
    entries[at] = last;
    return first;
  }
}
