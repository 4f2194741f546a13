// `libra completion`: a script for the shell that completes commands and options.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { completionScript } from '../completion.ts';

export const completion: Command = {
  summary: 'Print the completion script for bash, zsh or fish.',
  example: 'libra completion bash > /etc/bash_completion.d/libra',
  inApp: false,
  arguments: [{ name: 'shell', help: 'bash, zsh or fish', required: true }],
  run: async (input, context) => {
    const shell = input.arguments['shell']?.[0] ?? '';
    if (shell !== 'bash' && shell !== 'zsh' && shell !== 'fish')
      throw new Failure('invalid_input', { message: `There is no completion for ${JSON.stringify(shell)}.`, hint: 'bash, zsh or fish' });
    const script = await completionScript(shell, context.local);
    context.output.raw(context.output.json ? `${JSON.stringify({ shell, script })}\n` : script, 'stdout');
    return 0;
  },
};
