// The words behind a command's name become its input, through commander. Nothing else in the CLI knows the parser.

import { Failure } from '../lib/failure.ts';
import type { Command, CommandInput, OptionSpec } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';

export interface GlobalFlags {
  readonly json: boolean;
  readonly app: string | null;
  readonly environment: string;
}

/** Options that every command in an App takes, next to its own. */
const APP_OPTIONS = [
  ['-a, --app <name>', 'App; default: the one of the manifest in this folder'],
  ['-e, --environment <name>', 'Environment; default: production'],
] as const;

/** The options of a command, where they depend on the settings of this program too. */
export function optionsOf(command: Command, local: LocalPlatform): readonly OptionSpec[] {
  return typeof command.options === 'function' ? command.options(local) : (command.options ?? []);
}

/** Parses the words behind a command's name; `help` where help was asked for. Throws `invalid_input`. */
export async function parseCommand(
  name: string,
  command: Command,
  words: readonly string[],
  local: LocalPlatform,
): Promise<{ input: CommandInput; flags: GlobalFlags } | { help: string }> {
  const { Command: Parser, CommanderError } = await import('commander');
  const parser = new Parser(`libra ${name}`);
  let help: string | null = null;
  let errors = '';
  parser
    .exitOverride()
    .helpOption('-h, --help', 'this text')
    .description(command.details === undefined ? command.summary : `${command.summary}\n\n${command.details}`)
    .addHelpText('after', `\nExample:\n  ${command.example}`)
    .configureOutput({ writeOut: (text) => (help = (help ?? '') + text), writeErr: (text) => (errors += text) })
    .allowExcessArguments(false);
  for (const argument of command.arguments ?? []) {
    const text = argument.variadic === true ? `${argument.name}...` : argument.name;
    parser.argument(argument.required ? `<${text}>` : `[${text}]`, argument.help);
  }
  const specs = optionsOf(command, local);
  for (const option of specs) {
    const long = `--${option.name}${option.value === undefined ? '' : ` <${option.value}>`}`;
    const flags = option.short === undefined ? long : `-${option.short}, ${long}`;
    if (option.repeat === true) parser.option(flags, option.help, (value: string, before: readonly string[]) => [...before, value], []);
    else parser.option(flags, option.help);
  }
  if (command.inApp !== false) for (const [flags, text] of APP_OPTIONS) parser.option(flags, text);
  parser.option('--json', 'machine-readable output');
  const split = words.indexOf('--');
  const before = split === -1 ? words : words.slice(0, split);
  try {
    parser.parse([...before], { from: 'user' });
  } catch (error) {
    if (help !== null) return { help };
    if (error instanceof CommanderError) {
      throw new Failure('invalid_input', {
        message:
          errors
            .trim()
            .replace(/^error: /u, '')
            .split('\n')[0] ?? error.message,
        hint: `libra ${name} --help`,
      });
    }
    throw error;
  }
  const options: Record<string, string | true | readonly string[] | undefined> = parser.opts();
  const named: Record<string, readonly string[]> = {};
  (command.arguments ?? []).forEach((argument, index) => {
    const given: unknown = parser.processedArgs[index];
    named[argument.name] = given === undefined ? [] : Array.isArray(given) ? given.map(String) : [String(given)];
  });
  // commander gives options in camelCase; commands know them by the name on the command line.
  const byName: Record<string, string | true | readonly string[] | undefined> = {};
  for (const option of specs)
    byName[option.name] = options[option.name.replaceAll(/-([a-z])/gu, (_, letter: string) => letter.toUpperCase())];
  return {
    input: { arguments: named, options: byName, rest: split === -1 ? [] : words.slice(split + 1) },
    flags: {
      json: options['json'] === true,
      app: typeof options['app'] === 'string' ? options['app'] : null,
      environment: typeof options['environment'] === 'string' ? options['environment'] : 'production',
    },
  };
}
