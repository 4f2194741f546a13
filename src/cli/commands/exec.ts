// `libra exec`: a command inside a running Instance, with the exit code of that command.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { runCall, terminalSize } from '../call-socket.ts';
import { chooseInstance } from '../choose-instance.ts';
import { flagOption, textOption } from '../options.ts';

export const exec: Command = {
  summary: 'Run a command inside a running Instance; its exit code becomes this one.',
  example: 'libra exec --app shop -- node -p process.version',
  rest: 'command',
  arguments: [{ name: 'instance', help: 'id of the Instance or the beginning of it; default: the first healthy one', required: false }],
  options: [
    { name: 'entrypoint', value: 'name', help: 'choose among Instances of this Entrypoint' },
    { name: 'tty', short: 't', help: 'give the command this terminal' },
  ],
  run: async (input, context) => {
    if (input.rest.length === 0)
      throw new Failure('invalid_input', { message: 'What shall run?', hint: 'Put the command behind --, such as: libra exec -- env' });
    const client = await context.client();
    const app = await context.app();
    const params = { app, environment: context.environment };
    const instance = input.arguments['instance']?.[0] ?? (await chooseInstance(client, params, textOption(input, 'entrypoint')));
    const isTerminal = flagOption(input, 'tty');
    if (isTerminal && !context.streams.input.isTTY) {
      throw new Failure('invalid_input', {
        message: 'There is no terminal to give: input comes from elsewhere.',
        hint: 'Leave out --tty.',
      });
    }
    const size = isTerminal ? `&terminal=${terminalSize(context.streams.output)}` : '';
    const path = `/v1/apps/${encodeURIComponent(app)}/environments/${encodeURIComponent(context.environment)}/instances/${encodeURIComponent(instance)}/exec?command=${encodeURIComponent(JSON.stringify(input.rest))}${size}`;
    return await runCall(context, path, isTerminal);
  },
};
