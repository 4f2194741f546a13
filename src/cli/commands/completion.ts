// `libra completion`: a script for the shell that completes commands and options.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { completionScript, isCompletionShell } from '../completion.ts';

export const completion: Command = {
  summary: 'Print the completion script for bash, zsh or fish.',
  details: 'bash: source it in ~/.bashrc. zsh: the same in ~/.zshrc. fish: write it to ~/.config/fish/completions/libra.fish.',
  example: 'source <(libra completion bash)',
  scope: 'platform',
  arguments: [{ name: 'shell', help: 'bash, zsh or fish', required: true }],
  run: async (input, context) => {
    const shell = input.arguments['shell']?.[0] ?? '';
    if (!isCompletionShell(shell))
      throw new Failure('invalid_input', {
        message: `There is no completion for ${JSON.stringify(shell)}.`,
        hint: 'There is one for bash, zsh and fish.',
      });
    const script = await completionScript(shell, context.registry, context.local);
    context.output.value({ shell, script });
    if (!context.output.json) context.output.raw(script, 'stdout');
    return 0;
  },
};
