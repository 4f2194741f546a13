// `libra down`: stops the platform of this machine.

import type { Command } from '../command.ts';
import { Failure } from '../../lib/failure.ts';
import { flagOption } from '../options.ts';
import { formatDuration } from '../output.ts';

const DEADLINE_MS = 120_000;

export const down: Command = {
  summary: 'Stop the platform on this machine.',
  details:
    'Its Instances stop too and come back with the next start, unless --keep-instances leaves them running. After a kill of librad it stops what is left.',
  example: 'libra down',
  scope: 'platform',
  options: [{ name: 'keep-instances', help: 'leave the Instances of the process driver running' }],
  run: async (input, context) => {
    const { output, local } = context;
    const keep = flagOption(input, 'keep-instances');
    let running = await local.running();
    if (running === null && !keep && (await local.hasLeftovers())) {
      output.note('librad does not run, but what it started does. It is started once more to stop that properly.');
      running = await local.startInBackground({}, { onProgress: (message) => output.progress(`${message} …`) });
    }
    if (running === null) {
      output.line('Libra is not running.');
      output.value({ stopped: false });
      return 0;
    }
    const began = performance.now();
    output.progress('Stopping …');
    if (running.node === undefined) {
      const client = await context.client();
      await client.system.shutdown({ body: { keepInstances: keep } });
    } else {
      if (keep)
        throw new Failure('unsupported', {
          message: 'A Node that joined cannot leave its Instances running.',
          hint: 'Drain it first: libra nodes drain',
        });
      await local.stopMember();
    }
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
