// Cores of an Instance's own. A core is divided into a hundred pieces; an Instance that asks for 1.5 gets one whole core and half of another,
// and what is left of that half goes to further fractions. The rules are Eru's (projecteru2/core, resource plugin `cpumem`): whole cores
// are kept whole as long as cores that are begun have room, and the split that lets the most in is taken.

import type { CoreShare } from '../../model/documents.ts';

/** Of a core. */
export const PIECES = 100;

/** The cores, as far as they are of use: whole ones by how many times, begun ones by what is left. Busier ones first. */
interface Sorted {
  readonly whole: readonly CoreShare[];
  readonly begun: readonly CoreShare[];
}

interface Split {
  readonly plans: number;
  /** So many of the whole cores, from the first on, are given away in fractions. */
  readonly opened: number;
}

const byPieces = (a: CoreShare, b: CoreShare): number => a.pieces - b.pieces || a.core - b.core;

/** Pieces of an amount of cores; what is less than a piece is not given. */
export function piecesOf(cores: number): number {
  return Math.floor(cores * PIECES + 1e-6);
}

function sortCores(free: readonly number[], reserve: number): Sorted {
  const whole: CoreShare[] = [];
  const begun: CoreShare[] = [];
  for (const [core, pieces] of free.entries()) {
    if (pieces >= PIECES && pieces % PIECES === 0) whole.push({ core, pieces });
    else if (pieces > 0) begun.push({ core, pieces });
  }
  whole.sort(byPieces);
  whole.length = Math.max(0, whole.length - reserve);
  return { whole, begun: begun.sort(byPieces) };
}

/** How often `cores` distinct ones can be taken: the largest k for which the cores, each at most k times, give k times as many. */
function wholePlans(whole: readonly CoreShare[], from: number, cores: number): number {
  let units = 0;
  for (let index = from; index < whole.length; index += 1) units += (whole[index]?.pieces ?? 0) / PIECES;
  let plans = Math.floor(units / cores);
  for (; plans > 0; plans -= 1) {
    let reach = 0;
    for (let index = from; index < whole.length; index += 1) reach += Math.min((whole[index]?.pieces ?? 0) / PIECES, plans);
    if (reach >= cores * plans) break;
  }
  return plans;
}

/** The best use of the cores for Instances of so many pieces each. */
function split({ whole, begun }: Sorted, pieces: number): Split {
  const cores = Math.floor(pieces / PIECES);
  const fraction = pieces % PIECES;
  if (fraction === 0) return { plans: wholePlans(whole, 0, cores), opened: 0 };
  let fractions = begun.reduce((sum, each) => sum + Math.floor(each.pieces / fraction), 0);
  let best: Split = { plans: cores === 0 ? fractions : Math.min(fractions, wholePlans(whole, 0, cores)), opened: 0 };
  for (let opened = 1; opened <= whole.length; opened += 1) {
    fractions += Math.floor((whole[opened - 1]?.pieces ?? 0) / fraction);
    const wholes = cores === 0 ? Infinity : wholePlans(whole, opened, cores);
    if (Math.min(fractions, wholes) > best.plans) best = { plans: Math.min(fractions, wholes), opened };
    // From here on there are fewer and fewer.
    if (wholes <= fractions) break;
  }
  return best;
}

/**
 * How many Instances of so many pieces fit.
 *
 * @param free pieces of each core, by its number; more than a hundred where the core is over-committed.
 * @param reserve so many whole cores stay for those that share.
 */
export function bindCapacity(free: readonly number[], pieces: number, reserve = 0): number {
  return pieces <= 0 ? 0 : split(sortCores(free, reserve), pieces).plans;
}

/** The cores of the next Instance; null: it does not fit. */
export function bindCores(free: readonly number[], pieces: number, reserve = 0): readonly CoreShare[] | null {
  if (pieces <= 0) return null;
  const sorted = sortCores(free, reserve);
  const { plans, opened } = split(sorted, pieces);
  if (plans === 0) return null;
  const fraction = pieces % PIECES;
  const cores = Math.floor(pieces / PIECES);
  // The fullest first, so that a core that counts several times is not the last one left.
  const wholes = sorted.whole
    .slice(opened)
    .toSorted((a, b) => b.pieces - a.pieces || a.core - b.core)
    .slice(0, cores);
  const taken = wholes.map(({ core }) => ({ core, pieces: PIECES }));
  if (fraction === 0) return taken;
  const open = [...sorted.begun, ...sorted.whole.slice(0, opened)].sort(byPieces).find((each) => each.pieces >= fraction);
  return open === undefined ? null : [...taken, { core: open.core, pieces: fraction }];
}

/** What is free when these are given away. */
export function withoutCores(free: readonly number[], taken: readonly CoreShare[]): readonly number[] {
  const left = [...free];
  for (const { core, pieces } of taken) left[core] = (left[core] ?? 0) - pieces;
  return left;
}

/** The cores that Instances without their own run on: those of which nothing is given away, or all where there is no such core. */
export function sharePool(free: readonly number[]): readonly number[] {
  const all = free.map((_pieces, core) => core);
  const pool = all.filter((core) => (free[core] ?? 0) >= PIECES);
  return pool.length === 0 ? all : pool;
}
