// `libra join`: makes this machine a Node of a platform elsewhere, and starts what it was invited for.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import type { UpFlags } from '../local-platform.ts';
import { textOption } from '../options.ts';
import { up } from './up.ts';

const MAX_TOKEN_BYTES = 1000;

export const join: Command = {
  summary: 'Make this machine a Node of a platform elsewhere, or one more control plane of it.',
  details:
    '`libra nodes invite` on the platform prints the whole command. The machine makes a key of its own, control signs its certificate, and both know each other by that from then on; the token is good for this once. After that `libra up` starts it again. --token - reads the token from standard input.',
  example: 'libra join https://10.0.0.1:7401 --token libra_join_…',
  scope: 'platform',
  outlivesOutput: true,
  arguments: [{ name: 'url', help: 'address of the platform, as `libra nodes invite` prints it', required: true }],
  options: (local) => [
    { name: 'token', value: 'token', help: 'of the invitation' },
    { name: 'detach', short: 'd', help: 'leave it running in the background' },
    ...local.upOptions,
  ],
  run: async (input, context) => {
    const { output, local } = context;
    const given = textOption(input, 'token');
    if (given === null)
      throw new Failure('invalid_input', { message: 'Which invitation? Give its --token.', hint: '`libra nodes invite` makes one.' });
    const token = given === '-' ? (await context.readInput(MAX_TOKEN_BYTES)).toString('utf8').trim() : given;
    const flags: Record<string, string | undefined> = {};
    for (const option of local.upOptions) flags[option.name] = textOption(input, option.name) ?? undefined;
    output.progress('Joining …');
    const { membership, already } = await local.join({ url: input.arguments['url']?.[0] ?? '', token, flags: flags satisfies UpFlags });
    output.progress('');
    if (membership.name === null)
      output.note(
        already
          ? `This machine is a control plane already; the token was not used.`
          : `This machine is a control plane of the platform at ${membership.url} now.`,
      );
    else
      output.note(
        already
          ? `This machine is Node ${membership.name} of ${membership.url} already; the token was not used.`
          : `This machine is Node ${membership.name} of ${membership.url} now (${membership.roles.join(', ')}).`,
      );
    return await up.run(input, context);
  },
};
