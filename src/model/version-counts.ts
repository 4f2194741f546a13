// What two versions did with their requests, and whether one of them is clearly worse. Pure statistics on counters that only grow: both
// are judged by the requests of the same time, and doubt always counts in favour of the candidate.

import type { CanaryAbort } from './canary.ts';

/** Upper ends of the buckets that latencies are counted in, milliseconds: two to the octave. One more bucket holds the rest. */
export const LATENCY_BOUNDS_MS: readonly number[] = Array.from({ length: 34 }, (_unused, index) => 2 ** (index / 2));

/** Requests of one version. Latencies are from a connection to the first byte of an answer. */
export interface VersionCount {
  readonly requests: number;
  /** Answered with 5xx, or not at all. */
  readonly errors: number;
  readonly latencySumMs: number;
  /** One more than LATENCY_BOUNDS_MS. */
  readonly latencies: readonly number[];
}

export const NO_REQUESTS: VersionCount = {
  requests: 0,
  errors: 0,
  latencySumMs: 0,
  latencies: Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, () => 0),
};

export function bucketOf(latencyMs: number): number {
  return latencyMs <= 1 ? 0 : Math.min(LATENCY_BOUNDS_MS.length, Math.ceil(2 * Math.log2(latencyMs) - 1e-9));
}

export function plus(a: VersionCount, b: VersionCount, sign: 1 | -1 = 1): VersionCount {
  return {
    requests: a.requests + sign * b.requests,
    errors: a.errors + sign * b.errors,
    latencySumMs: a.latencySumMs + sign * b.latencySumMs,
    latencies: a.latencies.map((count, index) => count + sign * (b.latencies[index] ?? 0)),
  };
}

/** Figures for people; null where nothing was counted. */
export interface VersionFigures {
  readonly requests: number;
  /** 0 to 1. */
  readonly errorRate: number | null;
  readonly meanMs: number | null;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export function figuresOf(count: VersionCount): VersionFigures {
  const timed = total(count.latencies);
  return {
    requests: count.requests,
    errorRate: count.requests === 0 ? null : count.errors / count.requests,
    meanMs: timed === 0 ? null : count.latencySumMs / timed,
    p50Ms: quantileMs(count, 0.5),
    p99Ms: quantileMs(count, 0.99),
  };
}

/** Upper end of the bucket in which the quantile lies; null where nothing was timed. */
export function quantileMs(count: VersionCount, quantile: number): number | null {
  const timed = total(count.latencies);
  if (timed === 0) return null;
  let below = 0;
  for (const [index, bound] of LATENCY_BOUNDS_MS.entries()) {
    below += count.latencies[index] ?? 0;
    if (below >= quantile * timed) return bound;
  }
  return LATENCY_BOUNDS_MS.at(-1) ?? 0;
}

/** Two versions in the same time. */
interface SideBySide {
  readonly stable: VersionCount;
  readonly candidate: VersionCount;
}

/** Two versions of one Entrypoint in the same time. */
export interface Comparison extends SideBySide {
  readonly entrypoint: string;
  readonly windowMs: number;
  /** The last third of it. */
  readonly recent: SideBySide;
}

/** Three standard deviations: about one chance in a thousand to be wrong, on either side. */
const Z = 3;
/** Less than this much slower is never worth an abort. */
const SLOWER_MS = 20;
/** A part of the candidate's requests that is slower than a quantile of the stable one's (times the factor) and cannot be by chance. */
const QUANTILES = [
  { quantile: 0.5, part: 0.6 },
  { quantile: 0.9, part: 0.2 },
  { quantile: 0.99, part: 0.03 },
] as const;

/**
 * Why the candidate is clearly worse, in words; null: it is not, or nobody can tell yet. `warm`: its programs have run long enough for
 * their latency to count; a program's first requests are slow.
 */
export function judge(comparison: Comparison, limits: CanaryAbort, warm: boolean): string | null {
  const { entrypoint, recent } = comparison;
  const failing = whyFailing(comparison, limits);
  if (failing !== null) return `${entrypoint} fails: ${failing}`;
  // Slow once, while it began, is no reason: it must be slow still.
  if (!warm || whySlow(recent, limits) === null) return null;
  const slow = whySlow(comparison, limits);
  return slow === null ? null : `${entrypoint} is slow: ${slow}`;
}

function whyFailing({ stable, candidate }: SideBySide, limits: CanaryAbort): string | null {
  if (candidate.requests < limits.requests) return null;
  const plain = stable.requests === 0 ? 0 : stable.errors / stable.requests;
  const usual = stable.requests >= limits.requests ? wilson(stable.errors, stable.requests, Z) : plain;
  if (wilson(candidate.errors, candidate.requests, -Z) <= usual + limits.errorRate) return null;
  const theirs = stable.requests === 0 ? 'nothing else was asked' : `${percent(plain)} of ${stable.requests} of the stable Deployment`;
  return `${percent(candidate.errors / candidate.requests)} of ${candidate.requests} requests failed, against ${theirs}`;
}

function whySlow({ stable, candidate }: SideBySide, limits: CanaryAbort): string | null {
  const timed = total(candidate.latencies);
  if (stable.requests < limits.requests || timed < limits.requests) return null;
  for (const { quantile, part } of QUANTILES) {
    // The stable one's quantile is itself a guess from so many requests: its upper end counts.
    const atMost = quantile + Z * Math.sqrt((quantile * (1 - quantile)) / total(stable.latencies));
    const usualMs = atMost >= 1 ? null : quantileMs(stable, atMost);
    const theirs = quantileMs(stable, quantile);
    const own = quantileMs(candidate, quantile);
    if (usualMs === null || theirs === null || own === null) continue;
    const slow = slowerThan(candidate, Math.max(usualMs * limits.latency, usualMs + SLOWER_MS));
    if (wilson(slow, timed, -Z) <= part) continue;
    return `p${quantile * 100} of ${timed} requests is ${time(own)}, against ${time(theirs)} of the stable Deployment`;
  }
  return null;
}

/** Requests that surely took longer. */
function slowerThan(count: VersionCount, limitMs: number): number {
  let slow = count.latencies.at(-1) ?? 0;
  for (let index = LATENCY_BOUNDS_MS.length - 1; index > 0 && (LATENCY_BOUNDS_MS[index - 1] ?? 0) >= limitMs; index -= 1) {
    slow += count.latencies[index] ?? 0;
  }
  return slow;
}

/** One end of Wilson's interval for a share (E. B. Wilson, 1927): the upper for z above 0, the lower below. */
export function wilson(part: number, all: number, z: number): number {
  if (all === 0) return z > 0 ? 1 : 0;
  const rate = part / all;
  const square = z * z;
  const middle = rate + square / (2 * all);
  const spread = z * Math.sqrt((rate * (1 - rate) + square / (4 * all)) / all);
  return Math.min(1, Math.max(0, (middle + spread) / (1 + square / all)));
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function percent(rate: number): string {
  return `${Math.round(rate * 1000) / 10} %`;
}

function time(ms: number): string {
  return ms < 10 ? `${Math.round(ms * 10) / 10} ms` : `${Math.round(ms)} ms`;
}
