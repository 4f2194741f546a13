import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { detect } from './detect.ts';
import type { Detection } from './detect.ts';
import { formatProblem, parseManifest } from './manifest.ts';
import type { Manifest } from './manifest-types.ts';

/** A folder given as path → text. */
function found(files: Readonly<Record<string, string>>, images = true): { readonly manifest: Manifest; readonly detection: Detection } {
  const detection = detect({ name: 'My Shop', files: Object.keys(files), read: (path) => files[path] ?? null, images });
  assert.ok(detection !== null);
  const { manifest, problems } = parseManifest(detection.text);
  assert.deepEqual(problems.map(formatProblem), [], detection.text);
  assert.ok(manifest !== null);
  for (const finding of detection.findings) assert.ok(finding.what !== '' && finding.why !== '');
  return { manifest, detection };
}

function commandOf(manifest: Manifest, name = 'web'): readonly string[] | undefined {
  return manifest.entrypoints[name]?.command;
}

const packageFile = (value: unknown): string => JSON.stringify(value);

test('a Dockerfile says how to build and start, and is passed over where no images run and something else fits', () => {
  const files = { Dockerfile: 'FROM x', 'package.json': packageFile({ scripts: { start: 'node a.js' } }) };
  assert.deepEqual(found(files).manifest.build, { kind: 'dockerfile', dockerfile: 'Dockerfile' });
  assert.deepEqual(commandOf(found(files, false).manifest), ['node', 'a.js']);
  assert.equal(found({ Dockerfile: 'FROM x' }, false).manifest.build.kind, 'dockerfile');
});

test('a start script that only calls node runs without npm in between', () => {
  const { manifest, detection } = found({
    'package.json': packageFile({
      scripts: { start: 'NODE_ENV=production node --enable-source-maps "my server.js"', build: 'tsc' },
      dependencies: { a: '1' },
    }),
    'package-lock.json': '{}',
  });
  assert.equal(manifest.app, 'my-shop');
  assert.deepEqual(commandOf(manifest), ['node', '--enable-source-maps', 'my server.js']);
  assert.deepEqual(manifest.env, { NODE_ENV: 'production' });
  assert.deepEqual(manifest.build, {
    kind: 'commands',
    commands: [
      ['npm', 'ci'],
      ['npm', 'run', 'build'],
    ],
    base: null,
  });
  assert.match(detection.findings.map((finding) => finding.why).join('\n'), /lockfile/u);
});

test('every other start script runs through its package manager', () => {
  const startOf = (start: string, more: Readonly<Record<string, string>> = {}, scripts = {}) =>
    commandOf(found({ 'package.json': packageFile({ scripts: { start, ...scripts }, dependencies: { a: '1' } }), ...more }).manifest);
  assert.deepEqual(startOf('next start'), ['npm', 'start']);
  assert.deepEqual(startOf('node a.js | tee log'), ['npm', 'start']);
  assert.deepEqual(startOf('node a.js $PORT'), ['npm', 'start']);
  assert.deepEqual(startOf('node a.js', {}, { prestart: 'x' }), ['npm', 'start']);
  assert.deepEqual(startOf('PORT=3000 node a.js'), ['npm', 'start']);
  assert.deepEqual(startOf('next start', { 'pnpm-lock.yaml': '' }), ['pnpm', 'start']);
  assert.deepEqual(startOf('next start', { 'yarn.lock': '' }), ['yarn', 'start']);
});

test('without a start script the main file runs, and without dependencies nothing is installed', () => {
  const { manifest } = found({ 'package.json': packageFile({ main: './lib.js' }), 'lib.js': '' });
  assert.deepEqual(commandOf(manifest), ['node', 'lib.js']);
  assert.deepEqual(manifest.build, { kind: 'none', base: null });
  assert.deepEqual(commandOf(found({ 'package.json': '{}', 'server.js': '' }).manifest), ['node', 'server.js']);
});

test('a front end that only builds is a static site', () => {
  const { manifest } = found({
    'package.json': packageFile({ scripts: { build: 'vite build' }, devDependencies: { vite: '8' } }),
    'index.html': '',
  });
  assert.deepEqual(manifest.build, {
    kind: 'static',
    directory: 'dist',
    commands: [
      ['npm', 'install'],
      ['npm', 'run', 'build'],
    ],
  });
});

test('a Procfile names every process, and release runs before a Deployment', () => {
  const { manifest } = found({
    Procfile:
      'web: node server.js --port $PORT\n# comment\nworker_1: node w.js\nrelease: node migrate.js\nclock: cd x && node clock.js ${TZ}\n',
    'package.json': packageFile({ scripts: { start: 'other' }, dependencies: { a: '1' } }),
    'package-lock.json': '',
  });
  assert.deepEqual(commandOf(manifest), ['node', 'server.js', '--port', '${PORT}']);
  assert.deepEqual(commandOf(manifest, 'worker-1'), ['node', 'w.js']);
  assert.equal(manifest.entrypoints['release']?.run, 'before-deploy');
  assert.deepEqual(commandOf(manifest, 'clock'), ['sh', '-c', 'cd x && node clock.js $${TZ}']);
  assert.deepEqual(manifest.build, { kind: 'commands', commands: [['npm', 'ci']], base: null });
});

test('Python programs run with their packages in the folder', () => {
  const plain = found({ 'server.py': 'import http.server' }).manifest;
  assert.deepEqual([commandOf(plain), plain.build.kind], [['python3', 'server.py'], 'none']);
  const flask = found({
    'app.py': 'from flask import Flask\napp = Flask(__name__)\n',
    'requirements.txt': 'flask==3\ngunicorn\n',
  }).manifest;
  assert.deepEqual(commandOf(flask), ['python3', '-m', 'gunicorn', 'app:app', '--bind', '${HOST}:${PORT}']);
  assert.deepEqual(flask.build, {
    kind: 'commands',
    commands: [['python3', '-m', 'pip', 'install', '--target', '.libra-python', '-r', 'requirements.txt']],
    base: null,
  });
  assert.deepEqual(flask.env, { PYTHONPATH: '.libra-python', PYTHONUNBUFFERED: '1' });
  const fastapi = found({
    'main.py': 'api = fastapi.FastAPI()\n',
    'pyproject.toml': '[project]\ndependencies = ["fastapi[standard]", "uvicorn"]\n',
  }).manifest;
  assert.deepEqual(commandOf(fastapi), ['python3', '-m', 'uvicorn', 'main:api', '--host', '${HOST}', '--port', '${PORT}']);
  const django = found({ 'manage.py': '', 'shop/wsgi.py': '', 'requirements.txt': 'django\ngunicorn' }).manifest;
  assert.deepEqual(commandOf(django), ['python3', '-m', 'gunicorn', 'shop.wsgi', '--bind', '${HOST}:${PORT}']);
});

test('a folder with an index.html is a static site', () => {
  assert.deepEqual(found({ 'index.html': '' }).manifest.build, { kind: 'static', directory: '.', commands: [] });
  assert.deepEqual(found({ 'public/index.html': '' }).manifest.build, { kind: 'static', directory: 'public', commands: [] });
});

test('a folder that tells nothing gives nothing', () => {
  for (const files of [{}, { 'readme.md': '' }, { 'package.json': '{' }, { 'package.json': '[]' }, { Procfile: 'nothing' }]) {
    assert.equal(detect({ name: 'x', files: Object.keys(files), read: () => '' }), null);
  }
});

test('whatever the files hold, the manifest that comes out is valid', () => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: fc.constantFrom('a', ' ', ':', '\n', '$', '{', '}', '#', "'", '"', '-', '|', '=', '1') }),
  );
  fc.assert(
    fc.property(
      fc.string(),
      text,
      text,
      text,
      fc.subarray(['Procfile', 'package.json', 'requirements.txt', 'app.py', 'index.html', 'package-lock.json']),
      (name, start, procfile, value, files) => {
        const read = (path: string): string =>
          path === 'package.json'
            ? packageFile({ main: value, scripts: { start, build: value } })
            : path === 'Procfile'
              ? `web: ${procfile}\n${value}`
              : value;
        const detection = detect({ name, files, read });
        if (detection !== null) assert.deepEqual(parseManifest(detection.text).problems.map(formatProblem), [], detection.text);
      },
    ),
    { numRuns: 500 },
  );
});
