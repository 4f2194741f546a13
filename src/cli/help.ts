// Help texts, made from the command table and fitted to the width of the reader's terminal.

import type { Command, CommandEntry, CommandGroup } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import type { ArgumentSpec, OptionSpec } from './option-spec.ts';
import { optionsOf, sharedOptionsOf } from './parser.ts';

/** Text in lines of at most `width` characters; longer words stand alone. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** Terms in a column of their own, explanations wrapped beside them. */
function definitions(rows: readonly (readonly [term: string, text: string])[], width: number): readonly string[] {
  const column = Math.min(30, Math.max(...rows.map(([term]) => term.length))) + 2;
  return rows.flatMap(([term, text]) => {
    const [first = '', ...more] = wrap(text, Math.max(24, width - column - 2));
    const head = term.length + 2 > column ? [`  ${term}`, `  ${' '.repeat(column)}${first}`] : [`  ${term.padEnd(column)}${first}`];
    return [...head, ...more.map((line) => `  ${' '.repeat(column)}${line}`)];
  });
}

function argumentText(argument: ArgumentSpec): string {
  const name = argument.variadic === true ? `${argument.name}...` : argument.name;
  return argument.required ? `<${name}>` : `[${name}]`;
}

export function optionText(option: OptionSpec): string {
  return `${option.short === undefined ? '    ' : `-${option.short}, `}--${option.name}${option.value === undefined ? '' : ` <${option.value}>`}`;
}

/** Name and arguments of a command, as one types them. */
export function commandLine(name: string, command: Command, withOptions = false): string {
  const words = (command.arguments ?? []).map(argumentText);
  return [
    'libra',
    name,
    ...(withOptions ? ['[options]'] : []),
    ...words,
    ...(command.rest === undefined ? [] : ['[--', `${command.rest}...]`]),
  ].join(' ');
}

export async function commandHelp(
  name: string,
  command: Command,
  local: LocalPlatform,
  related: readonly CommandEntry[],
  width: number,
): Promise<string> {
  const lines = [...wrap(command.summary, width), ''];
  if (command.details !== undefined) lines.push(...wrap(command.details, width), '');
  lines.push('Usage:', `  ${commandLine(name, command, true)}`, '');
  const words = command.arguments ?? [];
  if (words.length > 0)
    lines.push(
      'Arguments:',
      ...definitions(
        words.map((argument) => [argument.name, argument.help]),
        width,
      ),
      '',
    );
  const options = [...optionsOf(command, local), ...sharedOptionsOf(command)];
  lines.push(
    'Options:',
    ...definitions(
      options.map((option) => [optionText(option), option.help]),
      width,
    ),
    '',
  );
  if (related.length > 0) lines.push('Further commands:', await groupHelp(related, width));
  lines.push('Example:', `  ${command.example}`, '');
  return lines.join('\n');
}

/** What `libra` and `libra --help` print. */
export async function overview(registry: readonly CommandGroup[], width: number): Promise<string> {
  const lines = [
    ...wrap('Libra runs applications: from a folder to a healthy, reachable App, without losing a request.', width),
    '',
    'Usage:',
    '  libra <command> [options]',
    '',
  ];
  for (const { title, commands } of registry) {
    const rows: (readonly [string, string])[] = [];
    for (const entry of commands) rows.push([entry.name, (await entry.load()).summary]);
    lines.push(`${title}:`, ...definitions(rows, width), '');
  }
  lines.push(...wrap("'libra <command> --help' tells the options of one, with an example. Every command takes --json.", width), '');
  return lines.join('\n');
}

/** Summaries of the commands that begin with one word. */
export async function groupHelp(entries: readonly CommandEntry[], width: number): Promise<string> {
  const rows: (readonly [string, string])[] = [];
  for (const entry of entries) rows.push([`libra ${entry.name}`, (await entry.load()).summary]);
  return `${definitions(rows, width).join('\n')}\n`;
}
