// The text of a manifest as plain values plus the place of each. Hostile text costs little: size, nesting and aliases are bounded before
// anything expands, and nothing here throws.

import { LineCounter, isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import { yamlTrouble } from './manifest-guard.ts';

export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface YamlProblem extends Place {
  readonly message: string;
}

export interface ParsedYaml {
  /** Plain values; undefined where the text is no YAML. */
  readonly value: unknown;
  readonly problems: readonly YamlProblem[];
  /** The place of a value, or of its key; for what is not there, of the nearest thing around it. */
  placeOf(path: readonly PropertyKey[], at: 'key' | 'value'): Place;
}

const MAX_ALIASES = 100;
const START: Place = { line: 1, column: 1 };

export function parseYaml(text: string): ParsedYaml {
  const trouble = yamlTrouble(text);
  if (trouble !== null) return { value: undefined, problems: [trouble], placeOf: () => START };
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: true,
      stringKeys: true,
      resolveKnownTags: false,
    });
    const problems = document.errors.map((error) => ({ ...placeAt(error.pos[0]), message: wording(error.code, error.message) }));
    const fatal = document.errors.some((error) => error.code !== 'DUPLICATE_KEY');
    if (!fatal) keepSpelling(document);
    const value: unknown = fatal ? undefined : document.toJS({ maxAliasCount: MAX_ALIASES });
    return { value, problems, placeOf: (path, at) => placeAt(offsetOf(document, path, at)) };
  } catch (error) {
    // Thrown for alias bombs and for references to anchors that do not exist.
    const message = error instanceof Error ? error.message : String(error);
    return { value: undefined, problems: [{ ...START, message: `this YAML cannot be read: ${message}` }], placeOf: () => START };
  }
}

function wording(code: string, message: string): string {
  switch (code) {
    case 'DUPLICATE_KEY':
      return 'this key is there twice';
    case 'MULTIPLE_DOCS':
      return 'a manifest is one YAML document; remove what follows `---`';
    case 'TAB_AS_INDENT':
      return 'YAML cannot be indented with tabs; use spaces';
    default:
      return `not valid YAML: ${message}`;
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
