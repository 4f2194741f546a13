// Procfile: a line per process, `name: command`. `release` runs before each Deployment, as it does where Procfiles come from.

import { splitCommand } from './command.ts';
import { nodeBuildOf } from './detect-node.ts';
import { pythonBuildOf } from './detect-python.ts';
import type { Draft, Finding, FolderView } from './detect-draft.ts';
import { toName } from './names.ts';

const LINE = /^([A-Za-z0-9_-]{1,63}):\s*(\S.*)$/u;
const MAX_PROCESSES = 50;

export function detectProcfile(folder: FolderView): Draft | null {
  const text = folder.files.includes('Procfile') ? folder.read('Procfile') : null;
  if (text === null) return null;
  const entrypoints: Draft['entrypoints'][number][] = [];
  const findings: Finding[] = [];
  for (const line of text.split(/\r?\n/u)) {
    const [, label = '', source = ''] = LINE.exec(line.trim()) ?? [];
    const name = toName(label);
    if (name === null || entrypoints.length >= MAX_PROCESSES || entrypoints.some((entrypoint) => entrypoint.name === name)) continue;
    const { command, why } = procfileCommand(source);
    entrypoints.push({ name, command, ...(name === 'release' ? { run: 'before-deploy' as const } : undefined) });
    findings.push({ what: `${name}: ${command.join(' ')}${name === 'release' ? ' (before each Deployment)' : ''}`, why });
  }
  if (entrypoints.length === 0) return null;
  const node = nodeBuildOf(folder);
  const python = pythonBuildOf(folder);
  return {
    build: { commands: [...(node?.commands ?? []), ...(python?.commands ?? [])] },
    env: python?.env ?? {},
    entrypoints,
    findings: [...(node?.findings ?? []), ...(python?.findings ?? []), ...findings],
  };
}

/** `$PORT` becomes `${PORT}`; what really needs a shell gets one, as the program that is started. */
function procfileCommand(source: string): { readonly command: readonly string[]; readonly why: string } {
  const braced = source.replace(/(?<![\\$])\$([A-Za-z_][A-Za-z0-9_]*)/gu, '$${$1}');
  const split = splitCommand(braced);
  const assigns = split.ok && /^[A-Za-z_]\w*=/u.test(split.words[0] ?? '');
  if (split.ok && !assigns) return { command: split.words, why: 'the Procfile says so' };
  // The shell expands variables itself: what Libra would expand is escaped.
  return { command: ['sh', '-c', source.replaceAll('${', () => '$${')], why: 'the Procfile says so, in the language of a shell' };
}
