// The text of a manifest as plain values plus the place of each. Hostile text costs little: size and aliases are bounded before anything
// expands, keys are compared in linear time, problems are counted no further than anybody reads; and nothing here throws.

import { LineCounter, isAlias, isCollection, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document, Node, Pair } from 'yaml';

interface Place {
  readonly line: number;
  readonly column: number;
}

interface YamlProblem extends Place {
  readonly message: string;
}

export interface ParsedYaml {
  /** Plain values; undefined where the text is no YAML. */
  readonly value: unknown;
  readonly problems: readonly YamlProblem[];
  /** The place of a value, or of its key; for what is not there, of the nearest thing around it. */
  placeOf(path: readonly PropertyKey[], at: 'key' | 'value'): Place;
}

const MAX_MANIFEST_BYTES = 256 * 1024;
const MAX_ALIASES = 100;
/** More problems than this are not located. */
const MAX_PROBLEMS = 101;
const START: Place = { line: 1, column: 1 };

export function parseYaml(text: string): ParsedYaml {
  if (text.length > MAX_MANIFEST_BYTES || new TextEncoder().encode(text).length > MAX_MANIFEST_BYTES) {
    return unreadable(`a manifest has at most ${MAX_MANIFEST_BYTES / 1024} KiB`);
  }
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false,
      stringKeys: true,
      resolveKnownTags: false,
    });
    if (document.errors.length > 0) {
      const problems = document.errors
        .slice(0, MAX_PROBLEMS)
        .map((error) => ({ ...placeAt(error.pos[0]), message: wording(error.code, error.message) }));
      return { value: undefined, problems, placeOf: () => START };
    }
    const problems = structureProblems(document);
    keepSpelling(document);
    const sound = problems.every((problem) => !problem.fatal);
    return {
      value: sound ? document.toJS({ maxAliasCount: MAX_ALIASES }) : undefined,
      problems: problems.map(({ offset, message }) => ({ ...placeAt(offset), message })),
      placeOf: (path, at) => placeAt(offsetOf(document, path, at)),
    };
  } catch (error) {
    // Thrown for alias bombs.
    return unreadable(`this YAML cannot be read: ${readable(error instanceof Error ? error.message : String(error))}`);
  }
}

function unreadable(message: string): ParsedYaml {
  return { value: undefined, problems: [{ ...START, message }], placeOf: () => START };
}

/** Hostile nesting ends in the parser's own stack limit, in one wording or another. */
function readable(message: string): string {
  return /call stack|stack overflow/iu.test(message) ? 'it is nested too deeply' : message;
}

interface StructureProblem {
  readonly offset: number;
  readonly message: string;
  /** Without a value to read on with. */
  readonly fatal: boolean;
}

/**
 * Keys that an earlier key of the same mapping equals, and aliases that lead nowhere or into themselves, in the order of the text. The
 * parser's own check of keys compares each with each.
 */
function structureProblems(document: Document.Parsed): readonly StructureProblem[] {
  const problems: StructureProblem[] = [];
  const anchorEnds = new Map<string, number>();
  const pending: unknown[] = [document.contents];
  while (pending.length > 0 && problems.length < MAX_PROBLEMS) {
    const node = pending.pop();
    const offset = startOf(node) ?? 0;
    if (isAlias(node)) {
      const end = anchorEnds.get(node.source);
      if (end === undefined) problems.push({ offset, message: `there is no anchor &${node.source} before this`, fatal: true });
      else if (offset < end) problems.push({ offset, message: `the anchor &${node.source} cannot hold itself`, fatal: true });
      continue;
    }
    if (!isCollection(node) && !isScalar(node)) continue;
    if (node.anchor !== undefined) anchorEnds.set(node.anchor, node.range?.[1] ?? 0);
    if (isSeq(node)) for (const item of node.items.toReversed()) pending.push(item);
    if (!isMap(node)) continue;
    const seen = new Set<string>();
    for (const { key } of node.items) {
      const name = isScalar(key) ? String(key.value) : '';
      if (seen.has(name))
        problems.push({ offset: startOf(key) ?? offset, message: `the key ${name.slice(0, 60)} is there twice`, fatal: false });
      seen.add(name);
    }
    for (const { value } of node.items.toReversed()) pending.push(value);
  }
  return problems.slice(0, MAX_PROBLEMS);
}

function wording(code: string, message: string): string {
  switch (code) {
    case 'MULTIPLE_DOCS':
      return 'a manifest is one YAML document; remove what follows `---`';
    case 'TAB_AS_INDENT':
      return 'YAML cannot be indented with tabs; use spaces';
    default:
      return `not valid YAML: ${readable(message)}`;
  }
}

/** Numbers and booleans that are meant as text keep their spelling: `1.10` of a variable, `0400` of a file's mode. */
function keepSpelling(document: Document.Parsed): void {
  const root: unknown = document.contents;
  const spellAll = (map: unknown): void => {
    if (isMap(map)) for (const pair of map.items) spell(pair);
  };
  const entrypoints = (map: unknown): void => {
    if (!isMap(map)) return;
    for (const { value } of map.items) {
      if (!isMap(value)) continue;
      spellAll(value.get('env', true));
      const files = value.get('files', true);
      if (isSeq(files)) for (const file of files.items) if (isMap(file)) spellAll(file);
    }
  };
  if (!isMap(root)) return;
  spellAll(root.get('env', true));
  entrypoints(root.get('entrypoints', true));
  const environments: unknown = root.get('environments', true);
  if (!isMap(environments)) return;
  for (const { value } of environments.items) {
    if (!isMap(value)) continue;
    spellAll(value.get('env', true));
    entrypoints(value.get('entrypoints', true));
  }
}

function spell(pair: Pair): void {
  const { value } = pair;
  if (!isScalar(value) || typeof value.source !== 'string') return;
  if (typeof value.value === 'number' || typeof value.value === 'boolean') value.value = value.source;
}

function offsetOf(document: Document.Parsed, path: readonly PropertyKey[], at: 'key' | 'value'): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [index, step] of path.entries()) {
    const here: unknown = isAlias(node) ? node.resolve(document) : node;
    let next: unknown;
    if (isMap(here)) {
      const pair = here.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
      if (pair === undefined) return offset;
      const last = index === path.length - 1;
      const keyOffset = startOf(pair.key) ?? offset;
      // An empty value has no place of its own that a person would look at.
      offset = last && at === 'key' ? keyOffset : isEmpty(pair.value) ? keyOffset : (startOf(pair.value) ?? keyOffset);
      next = pair.value;
    } else if (isSeq(here)) {
      next = here.items[Number(step)];
      offset = startOf(next) ?? offset;
    } else {
      return offset;
    }
    node = next;
  }
  return offset;
}

function isEmpty(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null && (node.source === undefined || node.source === ''));
}

function startOf(node: unknown): number | undefined {
  if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return undefined;
  const range: Node['range'] = node.range;
  return range?.[0];
}
