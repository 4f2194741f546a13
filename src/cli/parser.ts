// The words behind a command's name become its input. The one place that knows how options are written; every mistake is a failure that
// names the word and, where one is near, the option that was meant.

import { parseArgs } from 'node:util';
import type { ParseArgsOptionsConfig } from 'node:util';
import { Failure } from '../lib/failure.ts';
import { isName, NAME_RULE } from '../model/names.ts';
import { nearest } from '../model/nearest.ts';
import type { Command, CommandInput } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import type { OptionSpec } from './option-spec.ts';

export interface GlobalFlags {
  readonly json: boolean;
  readonly app: string | null;
  readonly environment: string;
}

export type Parsed = { readonly input: CommandInput; readonly flags: GlobalFlags } | { readonly help: true };

const APP: OptionSpec = { name: 'app', short: 'a', value: 'name', help: 'App; default: the one of the manifest in this folder' };
const ENVIRONMENT: OptionSpec = { name: 'environment', short: 'e', value: 'name', help: 'Environment; default: production' };
const JSON_OUTPUT: OptionSpec = { name: 'json', help: 'machine-readable output' };
const HELP: OptionSpec = { name: 'help', short: 'h', help: 'this text' };

/** The options of a command, where they depend on the settings of this program too. */
export function optionsOf(command: Command, local: LocalPlatform): readonly OptionSpec[] {
  return typeof command.options === 'function' ? command.options(local) : (command.options ?? []);
}

/** The options that a command takes besides its own. */
export function sharedOptionsOf(command: Command): readonly OptionSpec[] {
  const scope = command.scope ?? 'environment';
  return [...(scope === 'platform' ? [] : [APP]), ...(scope === 'environment' ? [ENVIRONMENT] : []), JSON_OUTPUT, HELP];
}

/** Options that stand in front of the command (`libra -a shop ps`) moved behind its words. */
export function commandFirst(argv: readonly string[]): readonly string[] {
  let from = 0;
  for (let word = argv[from]; word !== undefined && /^-./u.test(word) && word !== '--'; word = argv[from]) {
    const option = [APP, ENVIRONMENT].find(({ name, short }) => word === `--${name}` || word === `-${short ?? ''}`);
    from += option === undefined ? 1 : 2;
  }
  if (from === 0 || from >= argv.length) return argv;
  const end = argv.indexOf('--', from);
  const words = argv.slice(from, end === -1 ? undefined : end);
  return [...words, ...argv.slice(0, from), ...(end === -1 ? [] : argv.slice(end))];
}

function usage(name: string, message: string, hint?: string): Failure {
  return new Failure('invalid_input', { message, hint: hint ?? `libra ${name} --help` });
}

function unknownOption(name: string, given: string, specs: readonly OptionSpec[]): Failure {
  const near = given.startsWith('--')
    ? nearest(
        given.slice(2),
        specs.map((spec) => spec.name),
      )
    : null;
  return usage(name, `libra ${name} has no option ${given}.`, near === null ? undefined : `Did you mean --${near}?`);
}

/** Parses the words behind a command's name. Throws `invalid_input`. */
export function parseCommand(name: string, command: Command, words: readonly string[], local: LocalPlatform): Parsed {
  // -a and -e are understood everywhere, so that they can stay in the line when its verb changes.
  const specs = [...optionsOf(command, local), APP, ENVIRONMENT, JSON_OUTPUT, HELP];
  const split = words.indexOf('--');
  const config: ParseArgsOptionsConfig = {};
  for (const { name: long, short, value } of specs)
    config[long] = { type: value === undefined ? 'boolean' : 'string', ...(short === undefined ? {} : { short }) };
  // Not strict: its messages talk of JavaScript. What it would refuse is refused below, token by token.
  const { tokens } = parseArgs({
    args: [...(split === -1 ? words : words.slice(0, split))],
    options: config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const options: Record<string, string | true | undefined> = {};
  const given: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') given.push(token.value);
    if (token.kind !== 'option') continue;
    const spec = specs.find((candidate) => candidate.name === token.name);
    if (spec === undefined) throw unknownOption(name, token.rawName, specs);
    if (spec === HELP) return { help: true };
    if (spec.value === undefined && token.value !== undefined) throw usage(name, `--${spec.name} takes no value.`);
    if (spec.value !== undefined && token.value === undefined)
      throw usage(name, `--${spec.name} needs a value: --${spec.name} <${spec.value}>`);
    if (spec.value !== undefined && token.inlineValue === false && /^-\D/u.test(token.value ?? ''))
      throw usage(
        name,
        `--${spec.name} needs a value, and ${token.value} looks like an option.`,
        `Write --${spec.name}=${token.value} if it is meant as the value.`,
      );
    if (options[spec.name] !== undefined && options[spec.name] !== (token.value ?? true))
      throw usage(name, `--${spec.name} is given twice.`);
    options[spec.name] = token.value ?? true;
  }
  const rest = split === -1 ? [] : words.slice(split + 1);
  if (rest.length > 0 && command.rest === undefined) given.push(...rest);
  return {
    input: { arguments: argumentsOf(name, command, given), options, rest: command.rest === undefined ? [] : rest },
    flags: {
      json: options['json'] === true,
      app: nameOption(name, options, 'app'),
      environment: nameOption(name, options, 'environment') ?? 'production',
    },
  };
}

function argumentsOf(name: string, command: Command, given: readonly string[]): Readonly<Record<string, readonly string[]>> {
  const named: Record<string, readonly string[]> = {};
  let next = 0;
  for (const argument of command.arguments ?? []) {
    const values = argument.variadic === true ? given.slice(next) : given.slice(next, next + 1);
    if (argument.required && values.length === 0)
      throw usage(name, `libra ${name} needs ${argument.name}: ${argument.help}.`, `Such as: ${command.example}`);
    named[argument.name] = values;
    next += values.length;
  }
  const extra = given[next];
  if (extra !== undefined)
    throw usage(
      name,
      `libra ${name} takes no further word ${JSON.stringify(extra)}.`,
      command.rest === undefined ? undefined : `${command.rest} stands behind --, such as: ${command.example}`,
    );
  return named;
}

function nameOption(
  name: string,
  options: Readonly<Record<string, string | true | undefined>>,
  option: 'app' | 'environment',
): string | null {
  const value = options[option];
  if (typeof value !== 'string') return null;
  if (!isName(value)) throw usage(name, `--${option} must be ${NAME_RULE}, not ${JSON.stringify(value)}.`);
  return value;
}
