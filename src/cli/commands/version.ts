// `libra version`: of this program and of the platform it talks to.

import type { Command } from '../command.ts';

export const version: Command = {
  summary: 'Print the version of this program, and of the platform where one answers.',
  example: 'libra version',
  scope: 'platform',
  run: async (_input, context) => {
    const { output, local } = context;
    const running = await local.running();
    output.line(`libra ${local.version}`);
    if (running !== null && running.version !== local.version) output.line(`platform ${running.version}`);
    output.value({ program: local.version, platform: running?.version ?? null });
    return 0;
  },
};
