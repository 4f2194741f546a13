// From argv to one command: finds the command by its words, loads only that, parses with commander, and turns every failure into
// its message and exit code. The rest of the CLI never sees argv.

import type { CliSettings, CommandContext } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import { createOutput } from './output.ts';
import { parseCommand } from './parser.ts';
import type { Output } from './output.ts';
import { Failure, FAILURE_CODES, toFailure } from '../lib/failure.ts';
import { findCommand, nearestCommand, registry } from './registry.ts';
import { createContext } from './profile.ts';

export interface CliOptions {
  readonly argv: readonly string[];
  readonly settings: CliSettings;
  readonly local: LocalPlatform;
  readonly cwd: string;
  readonly streams: CommandContext['streams'];
  readonly signal: AbortSignal;
}

async function overview(): Promise<string> {
  const lines = [
    'Libra runs applications: deploy from a folder, health-gated, without losing a request.',
    '',
    'Usage: libra <command> [options]',
    '',
  ];
  for (const group of registry) {
    lines.push(`${group.title}:`);
    for (const entry of group.commands) lines.push(`  ${entry.name.padEnd(18)} ${(await entry.load()).summary}`);
    lines.push('');
  }
  lines.push("'libra <command> --help' tells the options of one, with an example. Every command takes --json.");
  return `${lines.join('\n')}\n`;
}

/** Runs one command line. Resolves with the exit code and never rejects. */
export async function runCli(options: CliOptions): Promise<number> {
  const json = options.argv.slice(0, options.argv.includes('--') ? options.argv.indexOf('--') : undefined).includes('--json');
  const output: Output = createOutput({
    json,
    noColor: options.settings.noColor,
    stdout: options.streams.output,
    stderr: options.streams.errors,
    canAsk: options.streams.input.isTTY,
  });
  try {
    const first = options.argv[0];
    if (first === undefined || first === '--help' || first === '-h' || (first === 'help' && options.argv.length === 1)) {
      options.streams.output.write(await overview());
      return first === undefined ? 2 : 0;
    }
    const argv =
      first === 'help' ? [...options.argv.slice(1), '--help'] : first === '--version' || first === '-v' ? ['version'] : options.argv;
    const found = findCommand(argv);
    if (found === null) {
      const near = nearestCommand(first);
      throw new Failure('invalid_input', {
        message: `There is no command ${JSON.stringify(first)}.`,
        hint: near === null ? 'libra --help lists all commands.' : `Did you mean 'libra ${near}'?`,
      });
    }
    if (found.kind === 'group') {
      options.streams.output.write(`${found.commands.map((entry) => `libra ${entry}`).join('\n')}\n`);
      return argv.includes('--help') || argv.includes('-h') ? 0 : 2;
    }
    const command = await found.entry.load();
    const parsed = await parseCommand(found.entry.name, command, argv.slice(found.words), options.local);
    if ('help' in parsed) {
      options.streams.output.write(parsed.help);
      return 0;
    }
    const context: CommandContext = createContext({ ...options, output, flags: parsed.flags });
    return await command.run(parsed.input, context);
  } catch (error) {
    if (options.signal.aborted) {
      output.note('Interrupted.');
      return 130;
    }
    const failure = toFailure(error);
    output.fail(failure);
    if (failure.code === 'internal' && failure.cause instanceof Error)
      options.streams.errors.write(`${failure.cause.stack ?? failure.cause.message}\n`);
    return FAILURE_CODES[failure.code].exitCode;
  }
}
