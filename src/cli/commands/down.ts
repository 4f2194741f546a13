// `libra down`: stops the platform of this machine.

import type { Command } from '../command.ts';
import { Failure } from '../../lib/failure.ts';
import { formatDuration } from '../output.ts';

const DEADLINE_MS = 120_000;

export const down: Command = {
  summary: 'Stop the platform on this machine.',
  details: 'Its Instances stop too and come back with the next start, unless --keep-instances leaves them running.',
  example: 'libra down',
  scope: 'platform',
  options: [{ name: 'keep-instances', help: 'leave the Instances of the process driver running' }],
  run: async (input, context) => {
    const { output, local } = context;
    const running = await local.running();
    if (running === null) {
      output.line('Libra is not running.');
      output.value({ stopped: false });
      return 0;
    }
    const began = performance.now();
    output.progress('Stopping …');
    const client = await context.client();
    await client.system.shutdown({ body: { keepInstances: input.options['keep-instances'] === true } });
    if (!(await local.waitUntilDown(DEADLINE_MS))) {
      throw new Failure('timeout', {
        message: `Libra (process ${running.pid}) has not stopped within ${formatDuration(DEADLINE_MS)}.`,
        hint: 'Its log in <data>/logs/librad.log says what it waits for.',
      });
    }
    output.line(`Stopped (${formatDuration(performance.now() - began)}).`);
    output.value({ stopped: true });
    return 0;
  },
};
