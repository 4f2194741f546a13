// Completion scripts, made from the command table: words and options are fixed at the time of printing, so completing costs no process.

import type { LocalPlatform } from './local-platform.ts';
import { optionsOf } from './parser.ts';
import { registry } from './registry.ts';

interface Completable {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly { readonly flag: string; readonly help: string }[];
}

async function completables(local: LocalPlatform): Promise<readonly Completable[]> {
  const all: Completable[] = [];
  for (const entry of registry.flatMap((group) => group.commands)) {
    const command = await entry.load();
    const options = optionsOf(command, local).map((option) => ({ flag: `--${option.name}`, help: option.help }));
    if (command.inApp !== false) options.push({ flag: '--app', help: 'App' }, { flag: '--environment', help: 'Environment' });
    options.push({ flag: '--json', help: 'machine-readable output' }, { flag: '--help', help: 'help' });
    all.push({ name: entry.name, summary: command.summary, options });
  }
  return all;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function bash(commands: readonly Completable[]): string {
  const first = [...new Set(commands.map((command) => command.name.split(' ')[0]))].join(' ');
  const cases = commands.map(
    (command) => `    ${quote(command.name)}) words=${quote(command.options.map((option) => option.flag).join(' '))} ;;`,
  );
  const groups = [
    ...new Set(commands.filter((command) => command.name.includes(' ')).map((command) => command.name.split(' ')[0] ?? '')),
  ].map(
    (group) =>
      `    ${group}) words="$words ${commands
        .filter((command) => command.name.startsWith(`${group} `))
        .map((command) => command.name.split(' ')[1])
        .join(' ')}" ;;`,
  );
  return `_libra() {
  local words='' name="\${COMP_WORDS[1]}"
  if [ "$COMP_CWORD" -le 1 ]; then COMPREPLY=($(compgen -W ${quote(first)} -- "\${COMP_WORDS[COMP_CWORD]}")); return; fi
  case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${cases.filter((line) => line.includes(' ', 6) && /^ {4}'[a-z-]+ [a-z-]+'/u.test(line)).join('\n')}
    *)
      case "$name" in
${cases
  .filter((line) => /^ {4}'[a-z-]+'\)/u.test(line))
  .map((line) => `    ${line}`)
  .join('\n')}
      esac ;;
  esac
  if [ "$COMP_CWORD" -eq 2 ]; then
    case "$name" in
${groups.map((line) => `  ${line}`).join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}") $(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o filenames -F _libra libra
`;
}

function fish(commands: readonly Completable[]): string {
  const lines = ['complete -c libra -f -n "not __fish_use_subcommand" -a "(__fish_complete_path)"'];
  for (const command of commands) {
    const [first = '', second] = command.name.split(' ');
    if (second === undefined) lines.push(`complete -c libra -n __fish_use_subcommand -a ${first} -d ${quote(command.summary)}`);
    else lines.push(`complete -c libra -n "__fish_seen_subcommand_from ${first}" -a ${second} -d ${quote(command.summary)}`);
    for (const option of command.options)
      lines.push(
        `complete -c libra -n "__fish_seen_subcommand_from ${second ?? first}" -l ${option.flag.slice(2)} -d ${quote(option.help)}`,
      );
  }
  return `${lines.join('\n')}\n`;
}

/** The script that a shell sources. zsh runs the bash function through its own compatibility layer. */
export async function completionScript(shell: 'bash' | 'zsh' | 'fish', local: LocalPlatform): Promise<string> {
  const commands = await completables(local);
  if (shell === 'fish') return fish(commands);
  return shell === 'bash' ? bash(commands) : `autoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`;
}
