import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findViolations } from './architecture-rules.ts';
import type { SourceFile } from './architecture-rules.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function sources(): readonly SourceFile[] {
  return globSync('src/**/*.ts', { cwd: root }).map((path) => ({
    path: path.replaceAll('\\', '/'),
    text: readFileSync(join(root, path), 'utf8'),
  }));
}

const file = (path: string, text: string): SourceFile => ({ path, text: `// Why it exists.\n${text}` });

describe('the architecture', () => {
  test('holds in every source file', () => {
    const files = sources();
    assert.ok(files.length > 50, 'the sources were found');
    const violations = findViolations(files).map((violation) => `${violation.file}: ${violation.rule}: ${violation.message}`);
    assert.deepEqual(violations, []);
  });

  const planted: readonly (readonly [rule: string, files: readonly SourceFile[]])[] = [
    ['imports', [file('src/edge/a.ts', "import { b } from '../control/b.ts';"), file('src/control/b.ts', '')]],
    ['imports', [file('src/lib/a.ts', "import type { B } from '../model/b.ts';"), file('src/model/b.ts', '')]],
    ['imports', [file('src/cli/a.ts', "const b = await import('../agent/b.ts');"), file('src/agent/b.ts', '')]],
    ['imports', [file('src/keeper/a.ts', "export * from '../model/b.ts';"), file('src/model/b.ts', '')]],
    ['imports', [file('src/store/a.ts', "import { rules } from '../../test/architecture-rules.ts';")]],
    ['isomorphic', [file('src/model/a.ts', "import { readFile } from 'node:fs/promises';")]],
    ['layout', [file('src/services/a.ts', '')]],
    ['cycle', [file('src/lib/a.ts', "import type { B } from './b.ts';"), file('src/lib/b.ts', "import type { A } from './a.ts';")]],
    [
      'cycle',
      [file('src/lib/a.ts', "import './b.ts';"), file('src/lib/b.ts', "import './c.ts';"), file('src/lib/c.ts', "import './a.ts';")],
    ],
    ['name', [file('src/lib/string-utils.ts', '')]],
    ['name', [file('src/lib/index.ts', '')]],
    ['name', [file('src/lib/fooBar.ts', '')]],
    ['length', [file('src/lib/long.ts', 'x;\n'.repeat(600))]],
    ['purpose', [{ path: 'src/lib/a.ts', text: 'export const a = 1;\n' }]],
    ['environment', [file('src/edge/a.ts', 'const home = process.env.HOME;')]],
    ['clock', [file('src/agent/a.ts', 'const now = Date.now();')]],
    ['randomness', [file('src/agent/a.ts', 'const dice = Math.random();')]],
    ['shell', [file('src/driver/a.ts', "spawn('ls', { shell: true });")]],
    ['any', [file('src/driver/a.ts', 'const a = b as any;')]],
  ];
  for (const [rule, files] of planted) {
    test(`a planted violation of "${rule}" is found (${files[0]?.path}, ${files[0]?.text.split('\n')[1]?.slice(0, 60)})`, () => {
      const found = findViolations(files);
      assert.ok(
        found.some((violation) => violation.rule === rule),
        `expected ${rule}, found ${JSON.stringify(found)}`,
      );
    });
  }

  test('what the rules allow is not reported', () => {
    const files = [
      file('src/control/apps/a.ts', "import { b } from '../../store/b.ts';\nimport { readFile } from 'node:fs/promises';"),
      file('src/store/b.ts', "import type { C } from '../lib/c.ts';"),
      file('src/lib/c.ts', 'export const now = (): number => Date.now();'),
      file('src/main.ts', "import { a } from './control/apps/a.ts';"),
    ];
    assert.deepEqual(findViolations(files), []);
  });
});
