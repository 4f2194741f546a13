// Makes the bundled program in dist/: one entry, lazily loaded chunks, the static server beside it. It starts faster and needs less
// memory than the sources; what npm publishes is this.

import { copyFileSync, mkdirSync, rmSync, statSync, globSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(root, 'dist');

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const bundle = await rolldown({
  input: { libra: join(root, 'src/main.ts') },
  platform: 'node',
  // Optional accelerators of ws; without them it uses its own code.
  external: [/^node:/, 'bufferutil', 'utf-8-validate'],
  logLevel: 'warn',
});
await bundle.write({
  dir: out,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name]-[hash].js',
  minify: { mangle: false, compress: true, codegen: { removeWhitespace: true } },
  keepNames: true,
});
await bundle.close();
// Executed by the users of Apps, from a copy: a file of its own without imports.
writeFileSync(join(out, 'static-server.js'), stripTypeScriptTypes(readFileSync(join(root, 'src/agent/static-server.ts'), 'utf8')));
copyFileSync(join(root, 'LICENSE'), join(out, 'LICENSE'));
let bytes = 0;
for (const file of globSync('**/*.js', { cwd: out })) bytes += statSync(join(out, file)).size;
console.log(`dist/libra.js with its chunks: ${(bytes / 1024).toFixed(0)} KiB`);
