// What is refused before a YAML parser sees it. The parser's cost grows steeply with nesting and with the number of errors; a manifest
// needs little of either, so bounds that no honest file meets keep every text cheap.

import type { YamlProblem } from './manifest-yaml.ts';

export const MAX_MANIFEST_BYTES = 256 * 1024;

/** Why this text is not even looked at, or null. */
export function yamlTrouble(text: string): YamlProblem | null {
  if (text.length > MAX_MANIFEST_BYTES || new TextEncoder().encode(text).length > MAX_MANIFEST_BYTES) {
    return { line: 1, column: 1, message: `a manifest has at most ${MAX_MANIFEST_BYTES / 1024} KiB` };
  }
  return null;
}
