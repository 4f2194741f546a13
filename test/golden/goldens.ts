// What users see, as text that is kept in files: a change of any of these shows in review. `npm run golden` writes them anew.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { openapi } from '../../src/api/openapi.ts';
import { table } from '../../src/api/table.ts';
import { commandLine, optionText } from '../../src/cli/help.ts';
import { optionsOf, sharedOptionsOf } from '../../src/cli/parser.ts';
import { registry } from '../../src/cli/registry.ts';
import { surroundings } from '../../src/config.ts';
import { PERMISSIONS_OF } from '../../src/control/auth/permissions.ts';
import { FAILURE_CODES } from '../../src/lib/failure.ts';
import { createLocalPlatform } from '../../src/roles/local-platform.ts';
import { DEPENDENCY_REASONS } from './dependency-reasons.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

async function commandTree(): Promise<string> {
  const local = createLocalPlatform({ ...surroundings(), env: {}, uid: 1000 });
  const lines: string[] = [];
  for (const group of registry) {
    lines.push(`# ${group.title}`, '');
    for (const entry of group.commands) {
      const command = await entry.load();
      lines.push(commandLine(entry.name, command), `    ${command.summary}`);
      if (command.details !== undefined) lines.push(`    ${command.details}`);
      for (const argument of command.arguments ?? []) lines.push(`    ${argument.name}: ${argument.help}`);
      for (const option of [...optionsOf(command, local), ...sharedOptionsOf(command)])
        lines.push(`    ${optionText(option).trim()}: ${option.help}`);
      lines.push(`    example: ${command.example}`, '');
    }
  }
  return lines.join('\n');
}

function permissionMatrix(): string {
  const kinds = Object.keys(PERMISSIONS_OF).sort();
  const rows = Object.entries(table).flatMap(([noun, verbs]) =>
    Object.entries(verbs).map(([verb, endpoint]) => {
      const who = kinds.filter(
        (kind) =>
          endpoint.permission === 'public' ||
          Object.entries(PERMISSIONS_OF).some(([name, permissions]) => name === kind && permissions.has(endpoint.permission)),
      );
      return `${`${noun}.${verb}`.padEnd(24)} ${endpoint.method.padEnd(6)} ${endpoint.path.padEnd(86)} ${endpoint.permission.padEnd(18)} ${endpoint.scope.padEnd(12)} ${who.join(', ')}`;
    }),
  );
  return `${rows.sort().join('\n')}\n`;
}

function errorTable(): string {
  return `${Object.entries(FAILURE_CODES)
    .map(
      ([code, info]) =>
        `${code.padEnd(22)} HTTP ${info.status}  exit ${info.exitCode}  ${info.retryable ? 'retryable' : 'final    '}  ${info.meaning}`,
    )
    .join('\n')}\n`;
}

function dependencies(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  if (
    typeof parsed !== 'object' ||
    parsed === null ||
    !('dependencies' in parsed) ||
    typeof parsed.dependencies !== 'object' ||
    parsed.dependencies === null
  )
    throw new Error('package.json has no dependencies');
  return `${Object.entries(parsed.dependencies)
    .map(([name, version]) => `${name} ${String(version)}: ${DEPENDENCY_REASONS[name] ?? 'NO REASON GIVEN'}`)
    .join('\n')}\n`;
}

/** File name → its text as of now. */
export const goldens: Readonly<Record<string, () => Promise<string> | string>> = {
  'openapi.json': () => `${JSON.stringify(openapi(table, z, { version: 'golden' }), null, 1)}\n`,
  'commands.txt': commandTree,
  'permissions.txt': permissionMatrix,
  'errors.txt': errorTable,
  'dependencies.txt': dependencies,
};

export const goldenFolder: string = join(root, 'test/golden');
