// Which files of a folder a Dockerfile build gets, as Docker's own command line reads `.dockerignore`: patterns from the root of the folder,
// the last one that matches decides, `!` takes back, and what lies in a folder that matches is matched with it. The file comes from an
// App: it is bounded, its patterns run in linear time, and long work lets others in.

import { readFile } from 'node:fs/promises';
import { join, normalize } from 'node:path/posix';
import { setImmediate } from 'node:timers/promises';
import { Failure } from '../lib/failure.ts';
import { compilePathPattern } from '../lib/path-pattern.ts';
import type { BundleEntry } from '../sys/bundle-scan.ts';

interface Rule {
  /** It takes back what earlier ones left out. */
  readonly isException: boolean;
  readonly matches: (path: string) => boolean;
}

const IGNORE_FILE = '.dockerignore';
const MOST_BYTES = 64 * 1024;
/** Of all patterns together. */
const MOST_COST = 16 * 1024;
const ENTRIES_AT_ONCE = 20;

/** Throws `build_failed` at a line that is no pattern. */
export function parseDockerignore(text: string, file: string): readonly Rule[] {
  const rules: Rule[] = [];
  let cost = 0;
  for (const [index, line] of text
    .replace(/^\uFEFF/u, '')
    .split(/\r?\n/u)
    .entries()) {
    if (line.startsWith('#') || line.trim() === '') continue;
    const wrong = (what: string): Failure => new Failure('build_failed', { message: `${file}:${index + 1}: ${what}.` });
    const [, mark, rest = ''] = /^(!?)\s*(.*)$/u.exec(line.trim()) ?? [];
    if (rest === '') throw wrong('“!” alone takes nothing back');
    const pattern = compilePathPattern(cleaned(rest));
    if (pattern === null) throw wrong(`${JSON.stringify(line.trim())} is no pattern`);
    rules.push({ isException: mark === '!', matches: pattern.matches });
    cost += pattern.cost;
    if (cost > MOST_COST) throw wrong('the patterns are too many');
  }
  return rules;
}

/** From the root of the folder, whatever stands before and behind. */
function cleaned(pattern: string): string {
  const path = normalize(pattern);
  const inner = path.length > 1 && path.startsWith('/') ? path.slice(1) : path;
  return inner.length > 1 && inner.endsWith('/') ? inner.slice(0, -1) : inner;
}

/**
 * The entries that go to the builder. The Dockerfile and the ignore file always do, as the builder reads them; it leaves them out of what
 * instructions see where they were named.
 * @param entries a folder before what is in it
 */
export async function withoutIgnored(
  entries: readonly BundleEntry[],
  rules: readonly Rule[],
  always: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<readonly BundleEntry[]> {
  const nothing = rules.map(() => false);
  /** Of each folder, which rules match it or one around it. */
  const folders = new Map<string, readonly boolean[]>();
  const kept: BundleEntry[] = [];
  for (const [index, entry] of entries.entries()) {
    if (index % ENTRIES_AT_ONCE === ENTRIES_AT_ONCE - 1) await setImmediate();
    signal.throwIfAborted();
    const around = folders.get(entry.path.slice(0, Math.max(0, entry.path.lastIndexOf('/')))) ?? nothing;
    const matches = (rule: Rule, at: number): boolean => around[at] === true || rule.matches(entry.path);
    if (entry.kind === 'folder') folders.set(entry.path, rules.map(matches));
    if (rules.findLast(matches)?.isException !== false || always.has(entry.path)) kept.push(entry);
  }
  return kept;
}

/** What the builder of a Dockerfile gets of a folder. Throws `build_failed`. */
export async function contextOf(
  folder: string,
  dockerfile: string,
  entries: readonly BundleEntry[],
  signal: AbortSignal,
): Promise<readonly BundleEntry[]> {
  // One that is named after the Dockerfile counts alone.
  const found = [`${dockerfile}.dockerignore`, IGNORE_FILE].flatMap((path) => entries.find((entry) => entry.path === path) ?? []);
  const [file] = found;
  if (file?.kind !== 'file') return entries;
  if (file.sizeBytes > MOST_BYTES) throw new Failure('build_failed', { message: `${file.path} has more than ${MOST_BYTES} bytes.` });
  const rules = parseDockerignore(await readFile(join(folder, file.path), 'utf8'), file.path);
  return withoutIgnored(entries, rules, new Set([dockerfile, IGNORE_FILE]), signal);
}
