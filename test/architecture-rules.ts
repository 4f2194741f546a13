// The rules of ARCHITECTURE.md as pure functions over source text, so that the test can prove that they find planted violations.

import { dirname, join, normalize } from 'node:path/posix';

export interface Violation {
  readonly file: string;
  readonly rule: string;
  readonly message: string;
}

/** What a folder of src/ may import, besides itself. `*` is everything. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  sys: ['lib'],
  model: ['lib'],
  api: ['model', 'lib'],
  store: ['model', 'lib', 'sys'],
  blob: ['model', 'lib', 'sys'],
  driver: ['model', 'lib', 'sys'],
  proxy: ['model', 'lib', 'sys'],
  tunnel: ['lib', 'sys'],
  control: ['store', 'blob', 'tunnel', 'api', 'model', 'lib', 'sys'],
  agent: ['driver', 'blob', 'tunnel', 'api', 'model', 'lib', 'sys'],
  dataplane: ['proxy', 'tunnel', 'api', 'model', 'lib', 'sys'],
  edge: ['dataplane', 'proxy', 'tunnel', 'api', 'model', 'lib', 'sys'],
  apiproxy: ['dataplane', 'proxy', 'tunnel', 'api', 'model', 'lib', 'sys'],
  dev: ['proxy', 'tunnel', 'api', 'model', 'lib', 'sys'],
  keeper: ['lib', 'sys'],
  cli: ['tunnel', 'api', 'model', 'lib', 'sys'],
  roles: ['*'],
  'main.ts': ['*'],
  'config.ts': ['lib', 'model'],
};

const ISOMORPHIC: ReadonlySet<string> = new Set(['lib', 'model', 'api']);
const BANNED_NAMES = /(?:^|[-/])(?:utils?|helpers?|common|misc|manager|index)(?:[-./]|$)|-service\./u;
const MAX_LINES = 500;
const MAX_TEST_LINES = 600;

export interface SourceFile {
  /** From the root of the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** Module specifiers of static and dynamic imports and re-exports, types included. Comments and string contents may confuse it only towards more findings. */
function importsOf(text: string): readonly string[] {
  const found: string[] = [];
  for (const match of text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gu))
    if (match[1] !== undefined) found.push(match[1]);
  for (const match of text.matchAll(/(?:^|\n)\s*import\s*['"]([^'"]+)['"]/gu)) if (match[1] !== undefined) found.push(match[1]);
  for (const match of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/gu)) if (match[1] !== undefined) found.push(match[1]);
  return found;
}

/** The unit of the import rule that a file of src/ belongs to: its top folder, or its own name directly in src/. */
function unitOf(path: string): string {
  return path.split('/')[1] ?? '';
}

const isTest = (path: string): boolean => path.endsWith('.test.ts') || path.endsWith('contract-suite.ts') || path.startsWith('test/');

/** Static edges only between files of the given set; dynamic imports load later and are no cycle of evaluation, but count here too. */
function graphOf(files: readonly SourceFile[]): ReadonlyMap<string, readonly string[]> {
  const known = new Set(files.map((file) => file.path));
  return new Map(
    files.map((file) => [
      file.path,
      importsOf(file.text)
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => normalize(join(dirname(file.path), specifier)))
        .filter((target) => known.has(target)),
    ]),
  );
}

/** One cycle per strongly connected component, as the list of its files. */
function cyclesOf(files: readonly SourceFile[]): readonly (readonly string[])[] {
  const graph = graphOf(files);
  const number = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const onStack = new Set<string>();
  const cycles: string[][] = [];
  // Tarjan, "Depth-first search and linear graph algorithms", 1972.
  const visit = (node: string): void => {
    number.set(node, number.size);
    low.set(node, number.get(node) ?? 0);
    stack.push(node);
    onStack.add(node);
    for (const next of graph.get(node) ?? []) {
      if (!number.has(next)) {
        visit(next);
        low.set(node, Math.min(low.get(node) ?? 0, low.get(next) ?? 0));
      } else if (onStack.has(next)) low.set(node, Math.min(low.get(node) ?? 0, number.get(next) ?? 0));
    }
    if (low.get(node) !== number.get(node)) return;
    const component: string[] = [];
    for (let popped = stack.pop(); popped !== undefined; popped = stack.pop()) {
      onStack.delete(popped);
      component.push(popped);
      if (popped === node) break;
    }
    if (component.length > 1 || (graph.get(node) ?? []).includes(node)) cycles.push(component.reverse());
  };
  for (const node of graph.keys()) if (!number.has(node)) visit(node);
  return cycles;
}

function importViolations(file: SourceFile): readonly Violation[] {
  const unit = unitOf(file.path);
  const allowed = MAY_IMPORT[unit];
  if (allowed === undefined) return [{ file: file.path, rule: 'layout', message: `src/${unit} is no folder of the layout` }];
  const violations: Violation[] = [];
  for (const specifier of importsOf(file.text)) {
    if (specifier.startsWith('node:')) {
      if (ISOMORPHIC.has(unit) && !isTest(file.path))
        violations.push({ file: file.path, rule: 'isomorphic', message: `imports ${specifier}, but ${unit} runs in browsers too` });
      continue;
    }
    if (!specifier.startsWith('.')) continue;
    const target = normalize(join(dirname(file.path), specifier));
    if (!target.startsWith('src/')) {
      if (!isTest(file.path)) violations.push({ file: file.path, rule: 'imports', message: `imports ${target}, outside of src` });
      continue;
    }
    const targetUnit = unitOf(target);
    if (targetUnit === unit || allowed.includes('*') || allowed.includes(targetUnit)) continue;
    // A test may bring real parts of other folders together; product code may not.
    if (isTest(file.path)) continue;
    violations.push({ file: file.path, rule: 'imports', message: `${unit} may not import ${targetUnit} (${specifier})` });
  }
  return violations;
}

const TEXT_RULES: readonly {
  readonly rule: string;
  readonly pattern: RegExp;
  readonly message: string;
  readonly except: (path: string) => boolean;
}[] = [
  {
    rule: 'environment',
    pattern: /\bprocess\.env\b/u,
    message: 'reads process.env; settings come through config.ts',
    except: (path) => path === 'src/config.ts',
  },
  {
    rule: 'clock',
    pattern: /\bDate\.now\(|\bnew Date\(\)/u,
    message: 'reads the clock; use lib/clock.ts',
    except: (path) => path.startsWith('src/lib/'),
  },
  {
    rule: 'randomness',
    pattern: /\bMath\.random\(|\brandomUUID\(/u,
    message: 'makes randomness; use lib/id.ts',
    except: (path) => path.startsWith('src/lib/'),
  },
  {
    rule: 'shell',
    pattern: /\bshell:\s*(?:true|['"])|\bexecSync\(|\bexecFileSync\(\s*['"](?:ba|da)?sh['"]/u,
    message: 'could reach a shell',
    except: () => false,
  },
  { rule: 'any', pattern: /\bas any\b|:\s*any\b(?!\w)/u, message: 'uses any', except: () => false },
];

/** Every violation of the layout, the import rule and the rules of style that text can show. */
export function findViolations(files: readonly SourceFile[]): readonly Violation[] {
  const violations: Violation[] = [];
  for (const file of files) {
    violations.push(...importViolations(file));
    const name = file.path.slice(file.path.lastIndexOf('/') + 1);
    if (BANNED_NAMES.test(name)) violations.push({ file: file.path, rule: 'name', message: 'has a name that says nothing' });
    if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test)?\.ts$/u.test(name))
      violations.push({ file: file.path, rule: 'name', message: 'is not in kebab-case' });
    const lines = file.text.split('\n').length - 1;
    const limit = isTest(file.path) ? MAX_TEST_LINES : MAX_LINES;
    if (lines > limit) violations.push({ file: file.path, rule: 'length', message: `has ${lines} lines; ${limit} are allowed` });
    if (isTest(file.path)) continue;
    if (!/^(?:#!.*\n)?\/\/ \S/u.test(file.text))
      violations.push({ file: file.path, rule: 'purpose', message: 'does not begin with a comment that says why it exists' });
    for (const { rule, pattern, message, except } of TEXT_RULES) {
      if (!except(file.path) && pattern.test(file.text.replaceAll(/^\s*(?:\/\/|\*|\/\*).*$/gmu, '')))
        violations.push({ file: file.path, rule, message });
    }
  }
  for (const cycle of cyclesOf(files))
    violations.push({ file: cycle[0] ?? '', rule: 'cycle', message: `is part of an import cycle: ${cycle.join(' → ')}` });
  return violations;
}
