// A manifest for a folder that has none, with the reason for every line of it. Pure: the caller lists the folder and reads the files.
//
// Order, the first that fits decides how it runs:
//   1. Dockerfile: its author has said how; skipped where the platform runs no images and something else fits.
//   2. Procfile: names every process; packages are installed as 3 and 4 would.
//   3. package.json with a start script, a main file, server.js or index.js; or with a build script of a known tool, then as a static site.
//   4. Python: manage.py, or app.py, main.py, server.py, wsgi.py, asgi.py.
//   5. index.html, in the folder itself or in public, dist, build, site, _site, www.

import type { Draft, Finding, FolderView } from './detect-draft.ts';
import { detectNode } from './detect-node.ts';
import { detectProcfile } from './detect-procfile.ts';
import { detectPython } from './detect-python.ts';
import { toName } from './names.ts';

export interface Detection {
  /** The text of a libra.yaml. */
  readonly text: string;
  readonly findings: readonly Finding[];
}

const STATIC_FOLDERS: readonly string[] = ['', 'public/', 'dist/', 'build/', 'site/', '_site/', 'www/'];

/** The manifest for this folder, or null where nothing tells how to run it. Never throws. */
export function detect(folder: FolderView): Detection | null {
  const other = detectProcfile(folder) ?? detectNode(folder) ?? detectPython(folder) ?? detectStatic(folder);
  const docker = detectDockerfile(folder);
  const draft = docker === null || (folder.images === false && other !== null) ? other : docker;
  return draft === null ? null : { text: manifestText(toName(folder.name) ?? 'app', draft), findings: draft.findings };
}

function detectDockerfile(folder: FolderView): Draft | null {
  if (!folder.files.includes('Dockerfile')) return null;
  return {
    build: { dockerfile: 'Dockerfile' },
    env: {},
    entrypoints: [{ name: 'web', command: null }],
    findings: [
      { what: 'build: Dockerfile', why: 'the folder holds a Dockerfile, which says how to build and start it' },
      { what: 'web: the command of the image', why: 'an image brings its own' },
    ],
  };
}

function detectStatic(folder: FolderView): Draft | null {
  const place = STATIC_FOLDERS.find((prefix) => folder.files.includes(`${prefix}index.html`));
  if (place === undefined) return null;
  const directory = place === '' ? '.' : place.slice(0, -1);
  return {
    build: { static: directory },
    env: {},
    entrypoints: [],
    findings: [
      { what: `static files of ${directory === '.' ? 'the folder' : directory}`, why: `there is ${place}index.html and no program` },
    ],
  };
}

function manifestText(app: string, draft: Draft): string {
  const lines = [`app: ${scalar(app)}`];
  const { commands, dockerfile, static: directory } = draft.build;
  const build = [
    ...(dockerfile === undefined ? [] : [`  dockerfile: ${scalar(dockerfile)}`]),
    ...(directory === undefined ? [] : [`  static: ${scalar(directory)}`]),
    ...(commands === undefined || commands.length === 0 ? [] : ['  commands:', ...commands.map((words) => `    - ${flowList(words)}`)]),
  ];
  if (build.length > 0) lines.push('build:', ...build);
  const variables = Object.entries(draft.env);
  if (variables.length > 0) lines.push('env:', ...variables.map(([name, value]) => `  ${name}: ${scalar(value)}`));
  if (draft.entrypoints.length > 0) lines.push('entrypoints:');
  for (const { name, command, run } of draft.entrypoints) {
    if (command === null && run === undefined) {
      lines.push(`  ${name}: {}`);
      continue;
    }
    lines.push(`  ${name}:`);
    if (command !== null) lines.push(`    command: ${commandText(command)}`);
    if (run !== undefined) lines.push(`    run: ${run}`);
  }
  return `${lines.join('\n')}\n`;
}

const PLAIN_WORD = /^[\w./=@%+,:${}-]*[\w./=@%+,${}-]$/u;
/** Words that YAML would read as something else than text. */
const SPECIAL = /^(?:[-+.\d].*|true|false|null|yes|no|on|off|y|n|~|)$/iu;

function scalar(text: string): string {
  return /^[A-Za-z_./][\w./@%+-]*$/u.test(text) && !SPECIAL.test(text) ? text : JSON.stringify(text);
}

function flowList(words: readonly string[]): string {
  return `[${words.map(scalar).join(', ')}]`;
}

/** As one line of words where none needs quoting, else as a list. */
function commandText(words: readonly string[]): string {
  const [first = ''] = words;
  return words.every((word) => PLAIN_WORD.test(word)) && /^[A-Za-z_./]/u.test(first) && words.length > 1
    ? words.join(' ')
    : flowList(words);
}
