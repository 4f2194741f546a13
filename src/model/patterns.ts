// Patterns over what strangers send, in time that grows with its length and nothing else: RE2's syntax and its automaton, never the
// engine of the language. The engine is loaded when the first pattern is there.

import type { RE2JS } from 're2js';

type Engine = typeof RE2JS;

/** At most so long, so that a table of them stays small. */
const PATTERN_LENGTH = 256;

export interface Pattern {
  /** Of the whole text. The groups, the whole first; null where it does not match. */
  match(text: string): readonly string[] | null;
  test(text: string): boolean;
  /** Of any part of it. */
  occursIn(text: string): boolean;
}

let engine: Engine | null = null;

/** Before patterns are compiled. */
export async function loadPatterns(): Promise<void> {
  engine ??= (await import('re2js')).RE2JS;
}

export function patternsLoaded(): boolean {
  return engine !== null;
}

/** What matches nothing where the text is no pattern: it was refused where it was said. Throws where the engine is not loaded. */
export function compilePattern(text: string): Pattern {
  if (engine === null) throw new Error('patterns are not loaded');
  try {
    const compiled = engine.compile(text);
    return {
      test: (value) => compiled.matcher(value).matches(),
      occursIn: (value) => compiled.matcher(value).find(),
      match: (value) => {
        const matcher = compiled.matcher(value);
        if (!matcher.matches()) return null;
        return Array.from({ length: matcher.groupCount() + 1 }, (_, index) => matcher.group(index) ?? '');
      },
    };
  } catch {
    return { test: () => false, occursIn: () => false, match: () => null };
  }
}

/** What is wrong with the text as a pattern, in words; null where nothing is. With the engine loaded its word counts, too. */
export function patternProblem(text: string): string | null {
  if (text.length > PATTERN_LENGTH) return `is longer than ${PATTERN_LENGTH} characters`;
  if (/\(\?(?:[=!]|<[=!])/u.test(text)) return 'looks ahead or behind, which takes more than linear time';
  if (/\\[1-9]|\\k</u.test(text.replaceAll('\\\\', ''))) return 'refers back to a group, which takes more than linear time';
  try {
    // Only its syntax: it is never run.
    void new RegExp(`^(?:${text})$`, 'u');
    engine?.compile(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What is wrong with it by the word of the engine alone, whose whole syntax counts; null where nothing is. Loads the engine. */
export async function engineProblem(text: string): Promise<string | null> {
  await loadPatterns();
  try {
    engine?.compile(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
