// What a folder says about itself: its libra.yaml, or what was detected in a folder without one, shown with the reasons and asked once.

import { readdir, readFile, realpath, stat, writeFile } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import type { Manifest, ManifestProblem } from '../model/manifest-types.ts';
import { toName } from '../model/names.ts';
import { Failure } from '../lib/failure.ts';
import type { CommandContext } from './command.ts';
import { confirm } from './prompt.ts';
import { isFailure } from '../lib/failure.ts';

export interface DeploySource {
  /** Absolute. */
  readonly folder: string;
  readonly manifestText: string;
  readonly manifest: Manifest;
  /** Whether the text stands in the folder or was detected just now. */
  readonly detected: boolean;
}

const MANIFEST_FILES = ['libra.yaml', 'libra.yml'] as const;
const MANIFEST_BYTES = 256 * 1024;

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function manifestFailure(problems: readonly ManifestProblem[]): Failure {
  const first = problems[0];
  return new Failure('manifest_invalid', {
    message:
      problems.length === 1 && first !== undefined
        ? `The manifest ${first.file} has an error.`
        : `The manifest ${first?.file ?? 'libra.yaml'} has ${problems.length} errors.`,
    hint: 'docs/guide/manifest.md describes every key.',
    details: {
      problems: problems.map(
        (problem) =>
          `${problem.file}:${problem.line}:${problem.column} ${problem.path === '' ? '' : `${problem.path}: `}${problem.message}`,
      ),
    },
  });
}

async function readManifest(folder: string): Promise<{ file: string; text: string } | null> {
  for (const file of MANIFEST_FILES) {
    try {
      const size = (await stat(join(folder, file))).size;
      if (size > MANIFEST_BYTES) {
        const message = `a manifest has at most ${MANIFEST_BYTES / 1024} KiB; this one has ${size} bytes`;
        throw manifestFailure([{ file, line: 1, column: 1, path: '', message }]);
      }
      return { file, text: await readFile(join(folder, file), 'utf8') };
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
  return null;
}

/** The file names directly in a folder and one level below, for detection; bounded. */
async function listing(folder: string): Promise<readonly string[]> {
  const names: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name === 'node_modules' || entry.name === '.git' || names.length > 2000) continue;
    if (entry.isFile()) names.push(entry.name);
    else if (entry.isDirectory())
      for (const inner of (await readdir(join(folder, entry.name)).catch(() => [])).slice(0, 100)) names.push(`${entry.name}/${inner}`);
  }
  return names;
}

export interface Detected {
  readonly text: string;
  readonly findings: readonly { readonly what: string; readonly why: string }[];
}

/** The name that an App of this folder gets. */
export function nameOf(context: CommandContext, folder: string): string {
  return context.appFlag ?? toName(basename(folder)) ?? 'app';
}

/** Whether some Node can run images; where no platform answers, it is left open. */
async function runsImages(context: CommandContext): Promise<boolean> {
  try {
    const { items } = await (await context.client()).nodes.list({ query: { limit: 500 } });
    return items.some((node) => node.drivers.some((driver) => driver.artifacts.includes('image')));
  } catch (error) {
    if (!isFailure(error)) throw error;
    return true;
  }
}

/** A manifest for a folder that has none, or null where nothing is recognised. */
export async function detectFolder(context: CommandContext, folder: string): Promise<Detected | null> {
  const { detect } = await import('../model/detect.ts');
  const files = await listing(folder);
  const texts = new Map<string, string>();
  for (const file of [
    'package.json',
    'Procfile',
    'Dockerfile',
    'requirements.txt',
    'pyproject.toml',
    'app.py',
    'main.py',
    'server.py',
    'wsgi.py',
    'asgi.py',
    'manage.py',
  ]) {
    if (!files.includes(file)) continue;
    const text = await readFile(join(folder, file), 'utf8').catch(() => null);
    if (text !== null) texts.set(file, text.slice(0, 64 * 1024));
  }
  const images = !files.includes('Dockerfile') || (await runsImages(context));
  return detect({ name: nameOf(context, folder), files, read: (file) => texts.get(file) ?? null, images });
}

/** Reads or detects the manifest of a folder. `yes` never asks; without a terminal and without `yes` a folder without manifest is refused. */
export async function readSource(
  context: CommandContext,
  folderArgument: string | undefined,
  options: { readonly yes: boolean },
): Promise<DeploySource> {
  const { output } = context;
  const asked = resolve(context.cwd, folderArgument ?? '.');
  const folder = await realpath(asked).catch(() => {
    throw new Failure('not_found', {
      message: `The folder ${relative(context.cwd, asked) || asked} does not exist.`,
      hint: 'Name the folder of the App, or change into it and name none.',
    });
  });
  if (!(await stat(folder)).isDirectory())
    throw new Failure('invalid_input', {
      message: `${relative(context.cwd, folder)} is not a folder.`,
      hint: 'Name the folder that holds libra.yaml.',
    });
  const { parseManifest } = await import('../model/manifest.ts');
  const found = await readManifest(folder);
  if (found !== null) {
    const shown = relative(context.cwd, join(folder, found.file)) || found.file;
    const { manifest, problems } = parseManifest(found.text, shown);
    if (manifest === null || problems.length > 0) throw manifestFailure(problems);
    if (context.appFlag !== null && context.appFlag !== manifest.app)
      throw new Failure('invalid_input', {
        message: `${shown} is the manifest of ${manifest.app}, and --app says ${context.appFlag}.`,
        hint: 'Leave --app out, or change `app:` in the manifest: a folder is deployed as the App that it names.',
      });
    return { folder, manifestText: found.text, manifest, detected: false };
  }
  const detected = await detectFolder(context, folder);
  if (detected === null) {
    throw new Failure('manifest_invalid', {
      message: `${folder} has no libra.yaml, and nothing in it tells how to run it (no Dockerfile, package.json with a start script, Procfile, Python program or index.html).`,
      hint: "Write a libra.yaml; 'libra init' begins one.",
    });
  }
  output.note('There is no libra.yaml here. This was found:');
  for (const finding of detected.findings) output.note(`  ${finding.what}  ${output.style('dim', `because ${finding.why}`)}`);
  output.note('');
  output.note(detected.text.trimEnd().replaceAll(/^/gmu, '  '));
  output.note('');
  if (!options.yes) {
    if (!output.interactive)
      throw new Failure('invalid_input', {
        message: 'This folder has no libra.yaml, and nobody can be asked here.',
        hint: "Add --yes to deploy it as shown above, or run 'libra init' first.",
      });
    if (!(await confirm(context, 'Deploy it like this?', true))) throw new Failure('canceled', { message: 'Nothing was deployed.' });
  }
  const { manifest, problems } = parseManifest(detected.text, 'libra.yaml (detected)');
  if (manifest === null || problems.length > 0) throw manifestFailure(problems);
  return { folder, manifestText: detected.text, manifest, detected: true };
}

export async function writeManifest(folder: string, text: string): Promise<string> {
  const path = join(folder, MANIFEST_FILES[0]);
  await writeFile(path, text, { flag: 'wx' });
  return path;
}
