// From argv to one command: finds the command by its words, loads only that, and turns every failure into its message and exit code.
// The rest of the CLI never sees argv.

import type { CliSettings, CommandContext } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import { createOutput } from './output.ts';
import type { Output } from './output.ts';
import { commandFirst, parseCommand } from './parser.ts';
import { Failure, FAILURE_CODES, toFailure } from '../lib/failure.ts';
import { entriesOf, findCommand, nearestCommand, nearestSecondWord, registry } from './registry.ts';
import { createContext } from './context.ts';

export interface CliOptions {
  readonly argv: readonly string[];
  readonly settings: CliSettings;
  readonly local: LocalPlatform;
  readonly cwd: string;
  readonly streams: CommandContext['streams'];
  readonly signal: AbortSignal;
  /** Ends the process at once: the reader of the output has gone. */
  readonly exit: (code: number) => void;
}

const INTERRUPTED = 130;
/** As a shell tells of a program that SIGPIPE has ended. */
const BROKEN_PIPE = 141;
const USAGE = 2;

function isAsking(words: readonly string[]): boolean {
  return words.includes('--help') || words.includes('-h');
}

function unknownCommand(first: string): Failure {
  const near = nearestCommand(first);
  return new Failure('invalid_input', {
    message: `There is no command ${JSON.stringify(first)}.`,
    hint: near === null ? 'libra --help lists all commands.' : `Did you mean 'libra ${near}'?`,
  });
}

async function run(options: CliOptions, argv: readonly string[], output: Output, serving: { on: boolean }): Promise<number> {
  const [first, second = ''] = argv;
  const width = Math.min(options.streams.output.columns ?? 100, 120);
  if (first === undefined || first === '--help' || first === '-h' || (first === 'help' && argv.length === 1)) {
    const { overview } = await import('./help.ts');
    output.raw(await overview(registry, width), first === undefined ? 'stderr' : 'stdout');
    return first === undefined ? USAGE : 0;
  }
  if (first === 'help') return await run(options, [...argv.slice(1), '--help'], output, serving);
  if (first === '--version' || first === '-v') return await run(options, ['version', ...argv.slice(1)], output, serving);
  const found = findCommand(argv);
  if (found === null) throw unknownCommand(first);
  if (found.kind === 'group') {
    const asked = isAsking(argv) || second === '';
    if (!asked)
      throw new Failure('invalid_input', {
        message: `There is no command ${JSON.stringify(`${first} ${second}`)}.`,
        hint: `libra ${first} --help`,
      });
    const { groupHelp } = await import('./help.ts');
    output.raw(await groupHelp(found.entries, width), isAsking(argv) ? 'stdout' : 'stderr');
    return isAsking(argv) ? 0 : USAGE;
  }
  const command = await found.entry.load();
  const { name } = found.entry;
  if (found.words === 1 && (command.arguments ?? []).length === 0 && /^[a-z]/u.test(second) && entriesOf(first).length > 0) {
    const near = nearestSecondWord(first, second);
    throw new Failure('invalid_input', {
      message: `There is no command ${JSON.stringify(`${first} ${second}`)}.`,
      hint: near === null ? `libra ${first} --help` : `Did you mean 'libra ${near}'?`,
    });
  }
  const parsed = parseCommand(name, command, argv.slice(found.words), options.local);
  if ('help' in parsed) {
    const { commandHelp } = await import('./help.ts');
    output.raw(await commandHelp(name, command, options.local, found.words === 1 ? entriesOf(first) : [], width), 'stdout');
    return 0;
  }
  serving.on = command.outlivesOutput === true;
  return await command.run(parsed.input, createContext({ ...options, output, registry, flags: parsed.flags }));
}

/** Runs one command line. Resolves with the exit code and never rejects. */
export async function runCli(options: CliOptions): Promise<number> {
  const { streams } = options;
  const own = options.argv.slice(0, options.argv.includes('--') ? options.argv.indexOf('--') : undefined);
  const output = createOutput({
    json: own.includes('--json'),
    noColor: options.settings.noColor,
    stdout: streams.output,
    stderr: streams.errors,
    canAsk: () => streams.input.isTTY,
  });
  const serving = { on: false };
  const onBroken = (error: NodeJS.ErrnoException): void => {
    if (serving.on) return;
    // The reader of a pipe has gone (`| head`): nobody is left to tell anything, and what was asked for is not known to be done.
    options.exit(error.code === 'EPIPE' ? BROKEN_PIPE : 1);
  };
  streams.output.on('error', onBroken);
  streams.errors.on('error', onBroken);
  try {
    return await run(options, commandFirst(options.argv), output, serving);
  } catch (error) {
    const failure = options.signal.aborted ? new Failure('canceled', { message: 'Interrupted.' }) : toFailure(error);
    if (options.signal.aborted && !output.json) output.note('Interrupted.');
    else output.fail(failure);
    if (failure.code === 'internal' && failure.cause instanceof Error && !output.json)
      output.raw(`${failure.cause.stack ?? failure.cause.message}\n`, 'stderr');
    return options.signal.aborted ? INTERRUPTED : FAILURE_CODES[failure.code].exitCode;
  }
}
