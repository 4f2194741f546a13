// Makes the package that npm publishes in dist/: the program bundled into a few files without dependencies, its launcher, the hello
// example, and the licences of what went in. It starts faster and needs less memory than the sources; only `node:` stays an import.
// Another folder than dist/ can be given as a word.

import { copyFileSync, cpSync, existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = resolve(process.argv[2] ?? join(root, 'dist'));
const program = join(out, 'program');

// stripTypeScriptTypes is what Node itself runs the sources with; its warning says nothing to whoever builds.
process.removeAllListeners('warning').on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') console.warn(warning);
});

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly engines: { readonly node: string };
}

/** Folders of the npm packages whose code went in. */
function packageFolders(moduleIds: readonly string[]): readonly string[] {
  const marker = `${sep}node_modules${sep}`;
  const folders = new Set<string>();
  for (const id of moduleIds) {
    const at = id.lastIndexOf(marker);
    if (at === -1) continue;
    const [first = '', second = ''] = id.slice(at + marker.length).split(sep);
    folders.add(id.slice(0, at + marker.length) + (first.startsWith('@') ? join(first, second) : first));
  }
  return [...folders].sort();
}

function licences(folders: readonly string[]): string {
  return folders
    .map((folder) => {
      // A package.json has these three fields, or npm would not have installed it.
      const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/iu.test(entry));
      const text = file === undefined ? `Licence: ${license}` : readFileSync(join(folder, file), 'utf8').trim();
      return `${name} ${version} (${license})\n\n${text}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'bin'), { recursive: true });
const bundle = await rolldown({
  input: { main: join(root, 'src/main.ts') },
  platform: 'node',
  // Optional accelerators of ws; without them it uses its own code.
  external: [/^node:/u, 'bufferutil', 'utf-8-validate'],
  logLevel: 'warn',
});
const { output } = await bundle.write({
  dir: program,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name]-[hash].js',
  minify: { mangle: false, compress: true, codegen: { removeWhitespace: true } },
  keepNames: true,
});
await bundle.close();

// Parses on any Node, so that an old one gets a sentence and not a syntax error.
writeFileSync(
  join(program, 'libra.js'),
  `const version = process.versions.node;
if (Number(version.split('.')[0]) < 24) {
  console.error('libra: this Node is ' + version + ' and Libra needs 24 or newer.');
  process.exit(1);
}
import('./main.js');
`,
);
// Executed by the users of Apps, from a copy: a file of its own without imports.
writeFileSync(join(program, 'static-server.js'), stripTypeScriptTypes(readFileSync(join(root, 'src/agent/static-server.ts'), 'utf8')));

const moduleIds = output.flatMap((part) => (part.type === 'chunk' ? part.moduleIds : []));
writeFileSync(join(out, 'THIRD-PARTY-LICENSES'), licences(packageFolders(moduleIds)));
// Our own package.json.
const { name, version, description, license, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
const published = {
  name,
  version,
  description,
  license,
  type: 'module',
  bin: { libra: 'bin/libra' },
  engines,
  publishConfig: { access: 'public' },
};
writeFileSync(join(out, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
cpSync(join(root, 'bin/libra'), join(out, 'bin/libra'));
cpSync(join(root, 'examples/hello'), join(out, 'examples/hello'), { recursive: true });
for (const file of ['README.md', 'LICENSE']) if (existsSync(join(root, file))) copyFileSync(join(root, file), join(out, file));

const files = globSync('**/*.js', { cwd: program });
const bytes = files.reduce((sum, file) => sum + statSync(join(program, file)).size, 0);
console.log(
  `${out}: ${name} ${version}, ${files.length} files of code, ${(bytes / 1024).toFixed(0)} KiB. Publish it with: npm publish <that folder>`,
);
