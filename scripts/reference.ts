// The pages of docs/reference, made from the tables that the program itself uses, so that they cannot say anything else. `npm run golden`
// writes them, the golden test compares them.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '../src/api/table.ts';
import { commandLine, optionText } from '../src/cli/help.ts';
import { optionsOf, sharedOptionsOf } from '../src/cli/parser.ts';
import { registry } from '../src/cli/registry.ts';
import { SETTINGS, surroundings } from '../src/config.ts';
import { FAILURE_CODES } from '../src/lib/failure.ts';
import { createLocalPlatform } from '../src/roles/local-platform.ts';

export const referenceFolder: string = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs/reference');

const MADE = 'Made from the code by `npm run golden`; edits here are lost.';

/** A Markdown table; `|` inside of cells is escaped. */
function rows(headings: readonly string[], cells: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]): string => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(headings), `|${headings.map(() => '---').join('|')}|`, ...cells.map(line)].join('\n');
}

async function commands(): Promise<string> {
  const local = createLocalPlatform({ ...surroundings(), env: {}, uid: 1000 });
  const parts = [
    '# Commands',
    MADE,
    'Every command takes `-a, --app <name>`, `-e, --environment <name>`, `--json` and `--help`, in front of its name or behind it. In the folder of an App its name need not be given. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 conflict, 6 the platform does not answer, 130 interrupted, 141 the reader of the output went away; `exec` and `run` give the code of what they ran.',
  ];
  for (const group of registry) {
    parts.push(`## ${group.title}`);
    for (const entry of group.commands) {
      const command = await entry.load();
      parts.push(`### libra ${entry.name}`, [command.summary, command.details].filter((text) => text !== undefined).join(' '));
      parts.push(`\`\`\`\n${commandLine(entry.name, command)}\n\`\`\``);
      const shared = new Set(sharedOptionsOf(command));
      const options = [...optionsOf(command, local)].filter((option) => !shared.has(option));
      const words = (command.arguments ?? []).map((argument) => [`\`${argument.name}\``, argument.help]);
      const flags = options.map((option) => [`\`${optionText(option).trim()}\``, option.help]);
      if (words.length + flags.length > 0) parts.push(rows(['', ''], [...words, ...flags]));
      parts.push(`Example: \`${command.example}\``);
    }
  }
  return `${parts.join('\n\n')}\n`;
}

function settings(): string {
  const cells = Object.values(SETTINGS).map((setting) => [
    `\`${setting.variable}\``,
    setting.flag === null ? '' : `\`--${setting.flag} <${setting.placeholder}>\``,
    setting.help,
    setting.defaultText,
  ]);
  return `# Settings\n\n${MADE}\n\nA flag of \`libra up\` counts more than its variable, which counts more than the default. A variable that is wrong is refused with its name.\n\n${rows(['Variable', 'Flag of `libra up`', 'What', 'Default'], cells)}\n`;
}

function errors(): string {
  const cells = Object.entries(FAILURE_CODES).map(([code, info]) => [
    `\`${code}\``,
    info.meaning,
    String(info.status),
    String(info.exitCode),
    info.retryable ? 'yes' : 'no',
  ]);
  return `# Errors\n\n${MADE}\n\nThe API answers with problem documents (RFC 9457): \`code\`, \`detail\` (what happened), \`hint\` (what to do next), \`details\`, \`requestId\`. The command line prints the first three, as one line of JSON on stderr with \`--json\`. "Again" says whether the same request may succeed later without a change.\n\n${rows(['Code', 'Meaning', 'HTTP status', 'Exit code', 'Again'], cells)}\n`;
}

function api(): string {
  const parts = [
    '# API',
    MADE,
    'JSON over HTTP under `/v1`, with `Authorization: Bearer <token>`; the owner token of a local platform is in `<data>/owner.token`. The full contract as OpenAPI 3.1 is served at `/v1/openapi.json` and kept in [test/golden/openapi.json](../../test/golden/openapi.json). Unknown fields are refused. Lists take `limit` and `cursor` and answer `items` and `next`. Writes take `Idempotency-Key`. Streams are server-sent events; `Last-Event-ID` goes on after a break.',
  ];
  for (const [noun, verbs] of Object.entries(table)) {
    const cells = Object.values(verbs).map((endpoint) => [
      `\`${endpoint.method} ${endpoint.path}\``,
      endpoint.summary + (endpoint.kind === 'json' ? '' : ` (${endpoint.kind})`),
      endpoint.permission,
    ]);
    parts.push(`## ${noun}`, rows(['Request', 'What', 'Permission'], cells));
  }
  return `${parts.join('\n\n')}\n`;
}

/** File name → its text as of now. */
export const references: Readonly<Record<string, () => Promise<string> | string>> = {
  'commands.md': commands,
  'settings.md': settings,
  'errors.md': errors,
  'api.md': api,
};
