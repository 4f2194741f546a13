// `libra releases`: what has been built.

import type { Command } from '../command.ts';
import { numberOption } from '../options.ts';
import { formatAge } from '../output.ts';

export const releases: Command = {
  summary: 'List the Releases of an App, newest first.',
  example: 'libra releases --app shop',
  scope: 'app',
  options: [{ name: 'limit', value: 'number', help: 'how many; default 20' }],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const reply = await client.releases.list({
      params: { app: await context.app() },
      query: { limit: numberOption(input, 'limit', { min: 1, max: 500, default: 20 }) },
    });
    const now = context.clock.now();
    output.table(
      ['RELEASE', 'LABEL', 'STATE', 'SOURCE', 'BY', 'AGE'],
      reply.items.map((release) => [
        String(release.number),
        release.label ?? '',
        release.state + (release.reason === null ? '' : ` (${release.reason.code})`),
        release.source.kind,
        release.createdBy,
        formatAge(now - release.createdAtMs),
      ]),
    );
    output.value(reply.items);
    return 0;
  },
};
