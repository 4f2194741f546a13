// What the output of a failing program gives away. Patterns are anchored on the wording of common languages and frameworks and are linear
// in the length of a line, which is cut first: output is hostile input.

export type Clue =
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'port-taken'; readonly port: number | null }
  | { readonly kind: 'module'; readonly name: string }
  | { readonly kind: 'heap' }
  | { readonly kind: 'disk-full' }
  | { readonly kind: 'permission'; readonly name: string }
  | { readonly kind: 'listening'; readonly port: number };

const MAX_LINES = 200;
const MAX_LINE_LENGTH = 1000;

const VARIABLE: readonly RegExp[] = [
  /KeyError: ['"]([A-Z][A-Z0-9_]{1,60})['"]/u,
  /key not found: "([A-Z][A-Z0-9_]{1,60})"/u,
  /required key ([A-Z][A-Z0-9_]{1,60}) missing value/u,
  /\b([A-Za-z_][A-Za-z0-9_]{1,60}): (?:unbound variable|parameter (?:not set|null or not set))/u,
  /Could not resolve placeholder '([A-Za-z_][A-Za-z0-9_.]{1,60})'/u,
  /\b(?:environment|env)(?: variable|\.?var)?:? ["'`$]?([A-Z][A-Z0-9_]{1,60})["'`]?,? (?:is |was |has |must )?(?:not |un|missing|required|be |empty)/iu,
  /\b(?:missing|required|undefined|unset|expected|set|provide)(?: the)?(?: required)? (?:environment|env)(?: variables?|\.?vars?)?:? ["'`$]?([A-Z][A-Z0-9_]{1,60})\b/iu,
  /(?<!ReferenceError: )\b["'`$]?([A-Z][A-Z0-9]*_[A-Z0-9_]{1,60})["'`]? (?:is |was |must be )?(?:not defined|not set|undefined|unset|missing|required|set\b)/u,
];

const PORT_TAKEN: readonly RegExp[] = [
  /EADDRINUSE.{0,80}?:(\d{2,5})\b/u,
  /\[Errno (?:98|48)\]/u,
  /[Aa]ddress already in use.{0,80}?:(\d{2,5})\b/u,
  /:(\d{2,5}): bind: address already in use/u,
  /port (\d{2,5}) (?:is )?(?:already )?(?:in use|being used|allocated|taken)/iu,
  /EADDRINUSE|[Aa]ddress already in use/u,
];

const MODULE: readonly RegExp[] = [
  /Cannot find (?:module|package) '([^']{1,200})'/u,
  /(?:ModuleNotFoundError|ImportError): No module named '?([\w.]{1,100})/u,
  /cannot load such file -- (\S{1,200})/u,
  /Could not find or load main class (\S{1,200})/u,
  /error while loading shared libraries: ([^:\s]{1,200}):/u,
];

const HEAP =
  /JavaScript heap out of memory|java\.lang\.OutOfMemoryError|\bMemoryError\b|fatal error: runtime: out of memory|Allowed memory size of/u;
const DISK = /\bENOSPC\b|\bEDQUOT\b|No space left on device|Disk quota exceeded/u;
const PERMISSION: readonly RegExp[] = [
  /\bEACCES\b[^'"]{0,80}['"]([^'"]{1,200})['"]/u,
  /EACCES: permission denied (\d{1,3}(?:\.\d{1,3}){3}:\d{1,5})/u,
  /PermissionError: \[Errno 13\][^'"]{0,80}['"]([^'"]{1,200})['"]/u,
];
const LISTENING = /\b(?:listening|running|started|serving|available|ready|server|bound|local)\b[^\n]{0,80}?(?::|port:? ?)(\d{2,5})\b/iu;

/** The newest clue of the most telling kind, or null. `only` asks for one kind that is a clue but no cause by itself. */
export function readClue(lines: readonly string[], only?: 'listening'): Clue | null {
  const recent = lines
    .slice(-MAX_LINES)
    .map((line) => line.slice(0, MAX_LINE_LENGTH))
    .reverse();
  const readers = only === 'listening' ? [listening] : [heap, portTaken, variable, moduleMissing, diskFull, permission];
  for (const read of readers) {
    for (const line of recent) {
      const clue = read(line);
      if (clue !== null) return clue;
    }
  }
  return null;
}

/** First capture of the first pattern that matches; '' where the pattern has none; null where none matches. */
function capture(patterns: readonly RegExp[], line: string): string | null {
  for (const pattern of patterns) {
    const match = pattern.exec(line);
    if (match !== null) return match[1] ?? '';
  }
  return null;
}

function heap(line: string): Clue | null {
  return HEAP.test(line) ? { kind: 'heap' } : null;
}

function diskFull(line: string): Clue | null {
  return DISK.test(line) ? { kind: 'disk-full' } : null;
}

function variable(line: string): Clue | null {
  const name = capture(VARIABLE, line);
  return name === null || name === '' ? null : { kind: 'variable', name };
}

function moduleMissing(line: string): Clue | null {
  const name = capture(MODULE, line);
  return name === null ? null : { kind: 'module', name };
}

function permission(line: string): Clue | null {
  const name = capture(PERMISSION, line);
  return name === null ? null : { kind: 'permission', name };
}

function portTaken(line: string): Clue | null {
  const port = capture(PORT_TAKEN, line);
  return port === null ? null : { kind: 'port-taken', port: port === '' ? null : Number(port) };
}

function listening(line: string): Clue | null {
  const port = Number(capture([LISTENING], line) ?? '');
  return port > 0 && port < 65536 ? { kind: 'listening', port } : null;
}
