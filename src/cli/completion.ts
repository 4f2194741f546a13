// Completion scripts, made from the command table: words and options are fixed at the time of printing, so completing costs no process.

import type { CommandGroup } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import type { OptionSpec } from './option-spec.ts';
import { optionsOf, sharedOptionsOf } from './parser.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type CompletionShell = (typeof SHELLS)[number];

export function isCompletionShell(text: string): text is CompletionShell {
  return SHELLS.some((name) => name === text);
}

interface Completable {
  readonly first: string;
  /** Null for a command of one word. */
  readonly second: string | null;
  readonly summary: string;
  readonly options: readonly OptionSpec[];
}

async function completables(registry: readonly CommandGroup[], local: LocalPlatform): Promise<readonly Completable[]> {
  const all: Completable[] = [];
  for (const entry of registry.flatMap((group) => group.commands)) {
    const command = await entry.load();
    const [first = '', second = null] = entry.name.split(' ');
    all.push({ first, second, summary: command.summary, options: [...optionsOf(command, local), ...sharedOptionsOf(command)] });
  }
  return all;
}

const unique = (words: readonly string[]): readonly string[] => [...new Set(words)];
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const flagsOf = (options: readonly OptionSpec[]): string => options.map((option) => `--${option.name}`).join(' ');

/** Options where the word begins with a dash, commands where one is due, else nothing, which leaves file names to the shell. */
function bash(commands: readonly Completable[]): string {
  const firsts = unique(commands.map((command) => command.first));
  const valued = unique(
    commands.flatMap(({ options }) =>
      options
        .filter((option) => option.value !== undefined)
        .flatMap((option) => [`--${option.name}`, ...(option.short === undefined ? [] : [`-${option.short}`])]),
    ),
  );
  const optionCases = commands
    .toSorted((left, right) => Number(left.second === null) - Number(right.second === null))
    .map(
      ({ first, second, options }) =>
        `      ${second === null ? `'${first} '*` : `'${first} ${second}'`}) words=${quote(flagsOf(options))} ;;`,
    );
  const seconds = firsts.flatMap((first) => {
    const words = commands.filter((command) => command.first === first && command.second !== null).map((command) => command.second);
    return words.length === 0 ? [] : [`      ${first}) words=${quote(words.join(' '))} ;;`];
  });
  return `_libra() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words=''
  COMPREPLY=()
  case "\${COMP_WORDS[COMP_CWORD-1]}" in
    ${valued.join('|')}) return ;;
  esac
  if [[ "$COMP_CWORD" -le 1 ]]; then
    words=${quote(firsts.join(' '))}
  elif [[ "$word" == -* ]]; then
    case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${optionCases.join('\n')}
    esac
  elif [[ "$COMP_CWORD" -eq 2 ]]; then
    case "\${COMP_WORDS[1]}" in
${seconds.join('\n')}
    esac
  fi
  if [[ -n "$words" ]]; then COMPREPLY=($(compgen -W "$words" -- "$word")); fi
}
complete -o default -F _libra libra
`;
}

function fish(commands: readonly Completable[]): string {
  const lines: string[] = [];
  for (const { first, second, summary, options } of commands) {
    const isFirst = '__fish_use_subcommand';
    const seenFirst = `__fish_seen_subcommand_from ${first}`;
    if (second === null) lines.push(`complete -c libra -f -n ${isFirst} -a ${first} -d ${quote(summary)}`);
    else lines.push(`complete -c libra -f -n ${quote(seenFirst)} -a ${second} -d ${quote(summary)}`);
    const seen = second === null ? seenFirst : `${seenFirst}; and __fish_seen_subcommand_from ${second}`;
    for (const { name, short, value, help } of options) {
      const flags = `${short === undefined ? '' : ` -s ${short}`} -l ${name}${value === undefined ? '' : ' -r'}`;
      lines.push(`complete -c libra -n ${quote(seen)}${flags} -d ${quote(help)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The script that a shell sources. zsh runs the function of bash through its own compatibility layer. */
export async function completionScript(shell: CompletionShell, registry: readonly CommandGroup[], local: LocalPlatform): Promise<string> {
  const commands = await completables(registry, local);
  switch (shell) {
    case 'bash':
      return bash(commands);
    case 'zsh':
      return `autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`;
    case 'fish':
      return fish(commands);
  }
}
