// How a Deployment is tried beside the one that serves: shares of the traffic in steps, who sees it anyway, when it is taken back by
// itself, how long the old one stays at hand. The texts are those of the command line and of the manifest.

import { Failure } from '../lib/failure.ts';
import { formatDuration, parseDurationMs } from './duration.ts';
import type { SplitRule, Sticky } from './traffic-split.ts';

export interface CanaryStep {
  readonly percent: number;
  /** How long it stays in force before the next; null: until somebody promotes. */
  readonly holdMs: number | null;
}

/** When the candidate is clearly worse than the stable Deployment. */
export interface CanaryAbort {
  /** Failed requests beyond those of the stable one, as a share of all, 0 to 1. */
  readonly errorRate: number;
  /** So many times slower. */
  readonly latency: number;
  /** Requests of the candidate without which nothing is judged. */
  readonly requests: number;
}

export interface CanaryPlan {
  /** At least one. After the last one's time it is promoted. */
  readonly steps: readonly CanaryStep[];
  readonly rules: readonly SplitRule[];
  readonly sticky: Sticky | null;
  /** null: never taken back by itself. */
  readonly abortOn: CanaryAbort | null;
  /** How long the old Instances stay at hand, without traffic, after the promotion; milliseconds. */
  readonly keepMs: number;
}

export const DEFAULT_ABORT: CanaryAbort = { errorRate: 0.02, latency: 2, requests: 20 };
/** What a switch (0 % without rules) keeps where nothing else is said. */
export const DEFAULT_KEEP_MS = 600_000;
const MAX_STEPS = 20;

/** Brought up in full without traffic, then switched at once. */
export function isSwitch(plan: CanaryPlan): boolean {
  return plan.steps[0]?.percent === 0 && plan.rules.length === 0;
}

/** How many of an Entrypoint's Instances the candidate has at a share: its part of them, at least one; for a switch all. */
export function canaryInstances(plan: CanaryPlan, percent: number, wanted: number): number {
  if (isSwitch(plan)) return wanted;
  return Math.min(wanted, Math.max(1, Math.ceil((wanted * percent) / 100)));
}

/** `10%` or `0.5%` → 10, 0.5; null where it is none from 0 to 100. */
export function parsePercent(text: string): number | null {
  const match = /^(\d{1,3}(?:\.\d{1,2})?)\s*%$/u.exec(text.trim());
  const percent = Number(match?.[1]);
  return match !== null && percent <= 100 ? percent : null;
}

export function formatPercent(percent: number): string {
  return `${Math.round(percent * 100) / 100} %`;
}

/** `10%`, `10%:5m` → a step; null where it is none. */
export function parseStep(text: string): CanaryStep | null {
  const [share = '', hold, ...rest] = text.split(':');
  const percent = parsePercent(share);
  const holdMs = hold === undefined ? null : parseDurationMs(hold);
  if (percent === null || rest.length > 0 || (hold !== undefined && holdMs === null)) return null;
  return { percent, holdMs };
}

/** `header:x-beta=1`, `cookie:beta` → a rule; null where it is none. */
export function parseRule(text: string): SplitRule | null {
  const match = /^(header|cookie):([\w!#$%&'*+.^`|~-]{1,100})(?:=([\x20-\x7e]{0,200}))?$/u.exec(text.trim());
  const name = match?.[2];
  if (match === null || name === undefined) return null;
  const value = match[3] ?? null;
  return match[1] === 'header' ? { kind: 'header', name: name.toLowerCase(), value } : { kind: 'cookie', name, value };
}

export function formatRule(rule: SplitRule): string {
  return `${rule.kind}:${rule.name}${rule.value === null ? '' : `=${rule.value}`}`;
}

/** `cookie`, `cookie:session`, `header:x-user`, `address`; null where it is none of them. */
export function parseSticky(text: string): Sticky | null {
  if (text === 'address') return { kind: 'address' };
  if (text === 'cookie') return { kind: 'cookie', name: null };
  const rule = parseRule(text);
  if (rule === null || rule.value !== null) return null;
  return { kind: rule.kind, name: rule.name };
}

export function formatSticky(sticky: Sticky): string {
  if (sticky.kind === 'address') return 'address';
  return sticky.name === null ? 'cookie' : `${sticky.kind}:${sticky.name}`;
}

export interface CanaryWords {
  /** `10%,header:x-beta=1`: one share at most, any number of rules. */
  readonly canary: string | null;
  /** `5%:2m,25%:5m,50%`. */
  readonly steps: string | null;
  readonly sticky: string | null;
  readonly keep: string | null;
  /** `errors=2%,latency=2,requests=20`, or `off`. */
  readonly abortOn: string | null;
}

/** The plan that the words of a command line ask for; null: none, whatever the manifest says; undefined: they say nothing. Throws `invalid_input`. */
export function parseCanary(words: CanaryWords): CanaryPlan | null | undefined {
  if (words.canary === 'off' || (words.canary === null && words.steps === null)) {
    for (const [option, value] of [
      ['--steps', words.steps],
      ['--sticky', words.sticky],
      ['--keep', words.keep],
      ['--abort-on', words.abortOn],
    ] as const) {
      if (value !== null) throw refused(`${option} needs a canary: --canary with a share, or --steps`);
    }
    return words.canary === 'off' ? null : undefined;
  }
  const shares: number[] = [];
  const rules: SplitRule[] = [];
  for (const word of words.canary === null ? [] : words.canary.split(',')) {
    const percent = parsePercent(word);
    const rule = percent === null ? parseRule(word) : null;
    if (percent !== null) shares.push(percent);
    else if (rule !== null) rules.push(rule);
    else throw refused(`--canary takes a share such as 10%, header:NAME=value, cookie:NAME=value or off, not ${JSON.stringify(word)}`);
  }
  if (shares.length > 1) throw refused('--canary takes one share; several are --steps');
  if (shares.length > 0 && words.steps !== null) throw refused('--steps holds the shares already; leave the one of --canary away');
  const steps = words.steps === null ? [{ percent: shares[0] ?? 0, holdMs: null }] : words.steps.split(',').map(readStep);
  const trouble = stepsTrouble(steps);
  if (trouble !== null) throw refused(`--steps: ${trouble}`);
  const sticky = words.sticky === null ? null : parseSticky(words.sticky);
  if (words.sticky !== null && sticky === null) {
    throw refused(`--sticky takes cookie, cookie:NAME, header:NAME or address, not ${JSON.stringify(words.sticky)}`);
  }
  const keepMs = words.keep === null ? null : parseDurationMs(words.keep);
  if (words.keep !== null && keepMs === null) throw refused(`--keep takes a duration such as 10m, not ${JSON.stringify(words.keep)}`);
  const plan: CanaryPlan = { steps, rules, sticky, abortOn: parseAbort(words.abortOn), keepMs: 0 };
  return { ...plan, keepMs: keepMs ?? (isSwitch(plan) ? DEFAULT_KEEP_MS : 0) };
}

function parseAbort(text: string | null): CanaryAbort | null {
  if (text === null) return DEFAULT_ABORT;
  if (text === 'off') return null;
  let abort = DEFAULT_ABORT;
  for (const word of text.split(',')) {
    const [name, value = ''] = word.split('=');
    const percent = parsePercent(value);
    const number = /^\d{1,7}(\.\d{1,3})?$/u.test(value) ? Number(value) : null;
    if (name === 'errors' && percent !== null) abort = { ...abort, errorRate: percent / 100 };
    else if (name === 'latency' && number !== null && number >= 1 && number <= 1000) abort = { ...abort, latency: number };
    else if (name === 'requests' && number !== null && Number.isInteger(number) && number >= 1) abort = { ...abort, requests: number };
    else throw refused(`--abort-on takes off, or such as errors=2%,latency=2,requests=20, not ${JSON.stringify(word)}`);
  }
  return abort;
}

function readStep(text: string): CanaryStep {
  const step = parseStep(text);
  if (step !== null) return step;
  throw refused(`--steps takes shares with their time, such as 5%:2m,25%:5m,50%, not ${JSON.stringify(text)}`);
}

/** What is wrong with a list of steps; null: nothing. */
export function stepsTrouble(steps: readonly CanaryStep[]): string | null {
  if (steps.length === 0) return 'at least one is needed';
  if (steps.length > MAX_STEPS) return `at most ${MAX_STEPS}`;
  for (const [index, step] of steps.entries()) {
    const before = steps[index - 1];
    if (before === undefined) continue;
    if (before.holdMs === null) return `only the last may be without a time; ${before.percent}% has none`;
    if (step.percent <= before.percent) return `shares must grow; ${step.percent}% comes after ${before.percent}%`;
  }
  return null;
}

/** A plan as it came in, in the one form that is kept. Throws `invalid_input`. */
export function checkedPlan(plan: CanaryPlan): CanaryPlan {
  const trouble = stepsTrouble(plan.steps);
  if (trouble !== null) throw refused(`Steps of a canary: ${trouble}`);
  const { sticky } = plan;
  return {
    ...plan,
    rules: plan.rules.map((rule) => (rule.kind === 'header' ? { ...rule, name: rule.name.toLowerCase() } : rule)),
    sticky: sticky?.kind === 'header' ? { kind: 'header', name: sticky.name.toLowerCase() } : sticky,
  };
}

/** In words, as the plan of a Deployment shows it. */
export function describeCanary(plan: CanaryPlan): string {
  const parts: string[] = [];
  if (isSwitch(plan)) parts.push('up in full without requests');
  else parts.push(plan.rules.length === 0 || plan.steps.length > 1 || plan.steps[0]?.percent !== 0 ? formatSteps(plan.steps) : '');
  parts.push(...plan.rules.map(formatRule));
  if (plan.sticky !== null) parts.push(`sticky by ${formatSticky(plan.sticky)}`);
  if (plan.steps.at(-1)?.holdMs === null) parts.push('then it waits for libra promote');
  if (plan.keepMs > 0) parts.push(`the old Instances stay at hand for ${formatDuration(plan.keepMs)}`);
  return parts.filter((part) => part !== '').join(', ');
}

/** `5%:2m,25%:5m,50%` */
export function formatSteps(steps: readonly CanaryStep[]): string {
  return steps.map(({ percent, holdMs }) => `${percent}%${holdMs === null ? '' : `:${formatDuration(holdMs)}`}`).join(',');
}

function refused(message: string): Failure {
  return new Failure('invalid_input', { message: `${message}.` });
}
