// What a plan tells: every difference between what runs and what would run, one line each. Values of Secrets never appear, only the
// name (and version) that a variable takes its value from.

import type { EnvSource } from './documents.ts';
import type { EntrypointSpec } from './manifest-types.ts';
import { routeOf } from './effective.ts';
import { routeKey } from './route-match.ts';
import { policyTexts, routeText } from './route-text.ts';
import { DEFAULT_TRAFFIC } from './traffic-policy.ts';

/** The comparable part of a Deployment: effective specs and resolved variables, by Entrypoint. */
export interface Desired {
  readonly entrypoints: Readonly<Record<string, EntrypointSpec>>;
  readonly env: Readonly<Record<string, Readonly<Record<string, EnvSource>>>>;
}

export interface Difference {
  readonly kind: 'add' | 'change' | 'remove';
  /** Such as `entrypoints.web.command` or `entrypoints.web.env.LOG_LEVEL`. */
  readonly path: string;
  readonly from: string | null;
  readonly to: string | null;
}

/** Differences in reading order: Entrypoints by name, added and removed ones as one line, then their variables. `before` null: nothing runs. */
export function describeDifferences(before: Desired | null, after: Desired): readonly Difference[] {
  const differences: Difference[] = [];
  const old = before ?? { entrypoints: {}, env: {} };
  for (const name of sortedKeys(old.entrypoints, after.entrypoints)) {
    const from = lookUp(old.entrypoints, name);
    const to = lookUp(after.entrypoints, name);
    const path = `entrypoints.${name}`;
    if (from === undefined && to !== undefined) {
      differences.push({ kind: 'add', path, from: null, to: summary(to) });
    } else if (from !== undefined && to === undefined) {
      differences.push({ kind: 'remove', path, from: summary(from), to: null });
      continue;
    } else if (from !== undefined && to !== undefined) {
      compareFields(path, plainFields(from), plainFields(to), differences);
      compareDescribed(describedParts(path, from), describedParts(path, to), differences);
    }
    compareFields(`${path}.env`, envTexts(lookUp(old.env, name)), envTexts(lookUp(after.env, name)), differences);
  }
  return differences;
}

function lookUp<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

function sortedKeys(a: object, b: object): readonly string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
}

/** Names repeat the path; the declared variables are told through their resolved sources, Routes and pages in words. */
function plainFields(spec: EntrypointSpec): Readonly<Record<string, unknown>> {
  const { name: _name, env: _env, routes: _routes, pages: _pages, ...rest } = spec;
  return { traffic: DEFAULT_TRAFFIC, ...rest };
}

function envTexts(env: Readonly<Record<string, EnvSource>> | undefined): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(env ?? {}).map(([name, source]) => [name, sourceText(source)]));
}

function sourceText(source: EnvSource): string {
  return source.kind === 'plain' ? source.value : `(${source.name}, version ${source.version})`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function compareFields(
  path: string,
  from: Readonly<Record<string, unknown>>,
  to: Readonly<Record<string, unknown>>,
  differences: Difference[],
): void {
  for (const key of sortedKeys(from, to)) {
    const a = lookUp(from, key);
    const b = lookUp(to, key);
    if (isRecord(a) && isRecord(b)) {
      compareFields(`${path}.${key}`, a, b, differences);
      continue;
    }
    const fromText = text(a);
    const toText = text(b);
    if (fromText === toText) continue;
    differences.push({
      kind: fromText === null ? 'add' : toText === null ? 'remove' : 'change',
      path: `${path}.${key}`,
      from: fromText,
      to: toText,
    });
  }
}

/** Something that is told in words; `detail` tells apart what they leave out, such as a password. */
interface Described {
  readonly path: string;
  readonly words: string;
  readonly detail: string;
}

/** Routes by what they ask of a request, pages by name; of these only the size, since they are long. */
function describedParts(path: string, { routes, pages }: EntrypointSpec): ReadonlyMap<string, Described> {
  const parts = new Map<string, Described>();
  for (const spec of routes ?? []) {
    const route = routeOf(spec);
    const place = routeText(route.host === '' ? { ...route, host: 'the default host, ' } : route);
    const words = [place, ...policyTexts(route.policy)].join(', ');
    parts.set(routeKey(route), { path: `${path}.routes`, words, detail: JSON.stringify(route.policy ?? null) });
  }
  for (const [name, html] of Object.entries(pages ?? {}))
    parts.set(`page ${name}`, { path: `${path}.pages.${name}`, words: `HTML, ${html.length} characters`, detail: html });
  return parts;
}

function compareDescribed(from: ReadonlyMap<string, Described>, to: ReadonlyMap<string, Described>, differences: Difference[]): void {
  for (const [key, { path, words }] of from) if (!to.has(key)) differences.push({ kind: 'remove', path, from: words, to: null });
  for (const [key, { path, words, detail }] of to) {
    const before = from.get(key);
    if (before === undefined) differences.push({ kind: 'add', path, from: null, to: words });
    else if (before.detail !== detail)
      differences.push({ kind: 'change', path, from: before.words, to: words === before.words ? `${words} (changed)` : words });
  }
}

/** Commands as words, all else as JSON with its keys in order; null where there is nothing. */
function text(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === 'string')) return value.map(quoteWord).join(' ');
  return JSON.stringify(value, (_key, inner: unknown) =>
    isRecord(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

function quoteWord(word: string): string {
  return /^[\w@%+=:,./${}-]+$/u.test(word) ? word : JSON.stringify(word);
}

function summary(spec: EntrypointSpec): string {
  const what = spec.command.length === 0 ? (spec.image ?? 'the command of the image') : spec.command.map(quoteWord).join(' ');
  const when: Readonly<Record<EntrypointSpec['run'], string>> = {
    service: `${spec.instances} ${spec.instances === 1 ? 'Instance' : 'Instances'}`,
    schedule: `at ${spec.schedule?.cron ?? ''} ${spec.schedule?.timezone ?? ''}`,
    'before-deploy': 'before each Deployment',
    manual: 'on request',
  };
  return `${what} (${when[spec.run]})`;
}
