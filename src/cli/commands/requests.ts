// `libra requests`: what goes through the Edges.

import type { RequestView } from '../../api/endpoints/requests.ts';
import { Failure } from '../../lib/failure.ts';
import { parseDurationMs } from '../../model/duration.ts';
import { STATUS_FILTER } from '../../model/request-filter.ts';
import type { Command, CommandInput } from '../command.ts';
import { flagOption, numberOption, textOption } from '../options.ts';
import { printable } from '../output.ts';
import type { Output } from '../output.ts';

function print(output: Output, request: RequestView): void {
  output.value(request);
  if (request.dropped > 0) output.line(output.style('yellow', `${request.dropped} requests were too many to show`));
  const status = request.status === null ? '---' : String(request.status);
  const colour = request.status === null || request.status >= 500 ? 'red' : request.status >= 400 ? 'yellow' : 'green';
  const where =
    request.app === undefined
      ? ''
      : ` ${request.app}/${request.environment ?? ''}${request.deployment === undefined ? '' : ` #${request.deployment}`}`;
  if (request.result === 'refused') {
    output.line(
      `${request.at} ${output.style(colour, status)} refused ${request.client === '' ? 'a client' : printable(request.client)}: ${printable(request.reason ?? '')}`,
    );
    return;
  }
  const tries = request.attempts > 1 ? ` ${request.attempts} tries` : '';
  const reason = request.reason === undefined ? '' : ` ${printable(request.reason)}`;
  output.line(
    `${request.at} ${output.style(colour, status)} ${printable(request.method)} ${printable(request.host)}${printable(request.path)} ${request.durationMs.toFixed(1)} ms${output.style('dim', where)}${tries}${reason}`,
  );
}

function slowerThanMs(input: CommandInput): number | null {
  const text = textOption(input, 'slower');
  if (text === null) return null;
  const ms = parseDurationMs(text);
  if (ms === null)
    throw new Failure('invalid_input', { message: `--slower must be a time such as 200ms or 2s, not ${JSON.stringify(text)}.` });
  return ms;
}

function status(input: CommandInput): string | null {
  const text = textOption(input, 'status');
  if (text !== null && !STATUS_FILTER.test(text))
    throw new Failure('invalid_input', {
      message: `--status must be a status such as 404 or a class such as 5xx, not ${JSON.stringify(text)}.`,
    });
  return text;
}

export const requests: Command = {
  summary: 'Print the last requests through the Edge, one JSON value a line with --json; --follow goes on with those to come.',
  example: 'libra requests --app shop --status 5xx --follow',
  details: 'A request shows when it has ended. Query strings are left out, since they may hold secrets.',
  scope: 'app',
  options: [
    { name: 'follow', short: 'f', help: 'go on with what comes' },
    { name: 'limit', short: 'n', value: 'number', help: 'begin with the last ones, at most 256; default 50' },
    { name: 'in', value: 'environment', help: 'only of this Environment' },
    { name: 'route', value: 'route', help: 'only of the Route with this host and path' },
    { name: 'status', value: 'status', help: 'only with this status, or of a class such as 5xx' },
    { name: 'method', value: 'method', help: 'only with this method' },
    { name: 'path', value: 'prefix', help: 'only those whose path begins so' },
    { name: 'slower', value: 'time', help: 'only those that took at least so long, such as 200ms' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const given = {
      app: context.appFlag,
      environment: textOption(input, 'in'),
      route: textOption(input, 'route'),
      status: status(input),
      method: textOption(input, 'method'),
      path: textOption(input, 'path'),
      slowerThanMs: slowerThanMs(input),
    };
    const filter = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
    const tail = numberOption(input, 'limit', { min: 0, max: 256, default: 50 });
    const follow = flagOption(input, 'follow');
    try {
      const stream = client.requests.watch({ query: { ...filter, tail, follow }, signal: context.signal, giveUpAfterMs: 0 });
      for await (const request of stream) print(output, request);
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
    return context.signal.aborted ? 130 : 0;
  },
};
