// `libra pause` and `libra resume`: requests wait at the Edge while something is done that must not meet them.

import { Failure } from '../../lib/failure.ts';
import { parseDurationMs } from '../../model/duration.ts';
import type { Command } from '../command.ts';
import { textOption } from '../options.ts';
import { formatDuration } from '../output.ts';

const MAX_MS = 600_000;

export const pause: Command = {
  summary: 'Let new requests wait at the Edge until libra resume; Instances go on, and finish what they have.',
  details: 'Requests wait in order, at most a thousand and until the time is over; then they get a page that says so. None is lost.',
  example: 'libra pause --app shop --max 1m',
  options: [{ name: 'max', value: 'time', help: 'so long from now on requests wait; default 30s, at most 10m, 0 shows the page at once' }],
  run: async (input, context) => {
    const text = textOption(input, 'max');
    const maxMs = text === null ? 30_000 : parseDurationMs(text);
    if (maxMs === null || maxMs > MAX_MS)
      throw new Failure('invalid_input', { message: `--max takes a duration from 0 to 10m, not ${JSON.stringify(text)}.` });
    const client = await context.client();
    const view = await client.environments.pause({
      params: { app: await context.app(), environment: context.environment },
      body: { maxMs },
    });
    context.output.line(
      `${view.app} ${view.name} is paused: requests wait for ${formatDuration(maxMs)}, then they get a page. Let them flow with: libra resume --app ${view.app} --environment ${view.name}`,
    );
    context.output.value(view);
    return 0;
  },
};

export const resume: Command = {
  summary: 'Let the requests of a paused Environment flow again, in the order in which they came.',
  example: 'libra resume --app shop',
  run: async (_input, context) => {
    const client = await context.client();
    const view = await client.environments.resume({ params: { app: await context.app(), environment: context.environment } });
    context.output.line(`${view.app} ${view.name} takes requests again.${view.url === null ? '' : ` ${view.url}`}`);
    context.output.value(view);
    return 0;
  },
};
