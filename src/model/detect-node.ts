// package.json: how a Node program is installed, built and started, preferably without npm standing between Libra and the program.

import { splitCommand } from './command.ts';
import type { Draft, Finding, FolderView } from './detect-draft.ts';
import { isReservedVariable, isVariableName } from './names.ts';

interface PackageFile {
  readonly scripts: Readonly<Record<string, string>>;
  readonly main: string | null;
  readonly packages: ReadonlySet<string>;
  readonly manager: string | null;
}

interface Installer {
  readonly program: string;
  readonly install: readonly string[] | null;
  readonly why: string;
}

/** Tools that build a site of plain files, and the folder they write. */
const SITE_TOOLS: readonly (readonly [tool: string, directory: string])[] = [
  ['vite', 'dist'],
  ['astro', 'dist'],
  ['react-scripts', 'build'],
  ['@docusaurus/core', 'build'],
  ['@vue/cli-service', 'dist'],
  ['@11ty/eleventy', '_site'],
  ['gatsby', 'public'],
  ['parcel', 'dist'],
];

const MAIN_FILES: readonly string[] = ['server.js', 'server.mjs', 'index.js', 'index.mjs', 'app.js', 'main.js', 'server.ts', 'index.ts'];

export function detectNode(folder: FolderView): Draft | null {
  const file = readPackageFile(folder);
  if (file === null) return null;
  const build = nodeBuild(folder, file);
  const start = startOf(folder, file);
  if (start !== null) {
    return {
      build: { commands: build.commands },
      env: start.env,
      entrypoints: [{ name: 'web', command: start.command }],
      findings: [...build.findings, { what: `web: ${start.command.join(' ')}`, why: start.why }],
    };
  }
  const tool = SITE_TOOLS.find(([name]) => file.packages.has(name));
  if (tool === undefined || file.scripts['build'] === undefined) return null;
  return {
    build: { static: tool[1], commands: build.commands },
    env: {},
    entrypoints: [],
    findings: [
      ...build.findings,
      { what: `static files of ${tool[1]}`, why: `${tool[0]} builds a site into ${tool[1]}, and there is no start script` },
    ],
  };
}

/** The commands that install and build, for Procfiles as well. */
export function nodeBuildOf(
  folder: FolderView,
): { readonly commands: readonly (readonly string[])[]; readonly findings: readonly Finding[] } | null {
  const file = readPackageFile(folder);
  return file === null ? null : nodeBuild(folder, file);
}

function nodeBuild(
  folder: FolderView,
  file: PackageFile,
): { readonly commands: readonly (readonly string[])[]; readonly findings: readonly Finding[] } {
  const installer = installerOf(folder, file);
  const commands: (readonly string[])[] = [];
  const findings: Finding[] = [];
  if (installer.install !== null) {
    commands.push(installer.install);
    findings.push({ what: `build: ${installer.install.join(' ')}`, why: installer.why });
  }
  if (file.scripts['build'] !== undefined) {
    commands.push([installer.program, 'run', 'build']);
    findings.push({ what: `build: ${installer.program} run build`, why: 'package.json has a build script' });
  }
  return { commands, findings };
}

function installerOf(folder: FolderView, file: PackageFile): Installer {
  const has = (name: string): boolean => folder.files.includes(name);
  if (has('package-lock.json') || has('npm-shrinkwrap.json')) {
    return { program: 'npm', install: ['npm', 'ci'], why: 'there is a lockfile of npm: exactly those versions are installed' };
  }
  if (has('pnpm-lock.yaml')) {
    return { program: 'pnpm', install: ['pnpm', 'install', '--frozen-lockfile'], why: 'there is a pnpm-lock.yaml' };
  }
  if (has('yarn.lock')) return { program: 'yarn', install: ['yarn', 'install', '--frozen-lockfile'], why: 'there is a yarn.lock' };
  const program = file.manager === 'pnpm' || file.manager === 'yarn' ? file.manager : 'npm';
  if (file.packages.size === 0) return { program, install: null, why: '' };
  return { program, install: [program, 'install'], why: 'package.json names dependencies, and there is no lockfile' };
}

interface Start {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly why: string;
}

function startOf(folder: FolderView, file: PackageFile): Start | null {
  const script = file.scripts['start'];
  if (script !== undefined) return startScript(script, file, installerOf(folder, file).program);
  const main = file.main !== null && folder.files.includes(file.main) ? file.main : MAIN_FILES.find((name) => folder.files.includes(name));
  if (main === undefined) return null;
  // A library or a front end has a main file too, but then something else builds it.
  if (file.scripts['build'] !== undefined && SITE_TOOLS.some(([tool]) => file.packages.has(tool))) return null;
  const why = main === file.main ? 'package.json names it as main and has no start script' : `there is ${main} and no start script`;
  return { command: ['node', main], env: {}, why };
}

/** `node …`, with variables in front, is started directly, so that signals and exit codes are the program's own. */
function startScript(script: string, file: PackageFile, program: string): Start {
  const split = splitCommand(script);
  const plain =
    split.ok && !/\$[A-Za-z_]/u.test(script) && file.scripts['prestart'] === undefined && file.scripts['poststart'] === undefined;
  if (plain) {
    const env: [string, string][] = [];
    let at = 0;
    for (; at < split.words.length; at += 1) {
      const match = /^([A-Za-z_]\w*)=(.*)$/su.exec(split.words[at] ?? '');
      const [, name = '', value = ''] = match ?? [];
      if (match === null || !isVariableName(name) || isReservedVariable(name)) break;
      env.push([name, value]);
    }
    const command = split.words.slice(at);
    if (command[0] === 'node' && command.length > 1) {
      return { command, env: Object.fromEntries(env), why: 'the start script of package.json says so; npm is not needed in between' };
    }
  }
  return { command: [program, 'start'], env: {}, why: 'package.json has a start script' };
}

function readPackageFile(folder: FolderView): PackageFile | null {
  if (!folder.files.includes('package.json')) return null;
  const text = folder.read('package.json');
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const file = record(value);
  if (file === null) return null;
  const scripts = Object.entries(record(file['scripts']) ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  const main = typeof file['main'] === 'string' ? file['main'].replace(/^\.\//u, '') : null;
  const manager = typeof file['packageManager'] === 'string' ? (file['packageManager'].split('@')[0] ?? null) : null;
  return {
    scripts: Object.fromEntries(scripts),
    main,
    packages: new Set([...Object.keys(record(file['dependencies']) ?? {}), ...Object.keys(record(file['devDependencies']) ?? {})]),
    manager,
  };
}

function record(value: unknown): Readonly<Record<string, unknown>> | null {
  // A JSON object; its values are looked at one by one.
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : null;
}
