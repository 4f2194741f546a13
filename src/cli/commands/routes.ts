// `libra routes`: which host and path leads where, and why a request goes where it goes.

import type { RouteView } from '../../api/endpoints/routes.ts';
import { Failure } from '../../lib/failure.ts';
import { parseCurlLine } from '../../model/curl-line.ts';
import { placeText } from '../../model/route-text.ts';
import type { Command } from '../command.ts';
import { flagOption, textOption } from '../options.ts';
import { printable } from '../output.ts';

function conditions(route: RouteView): string {
  const at = route.pathType === 'prefix' ? [] : [`path ${route.pathType === 'exact' ? '=' : '~'} ${route.path}`];
  return [...at, ...route.conditions].join(', ');
}

export const routes: Command = {
  summary: 'List the routes of an Environment, what each does, and how many Instances serve it.',
  example: 'libra routes --app shop',
  options: [{ name: 'all', help: 'those of every App' }],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const all = flagOption(input, 'all');
    const { items } = all
      ? await client.routes.list({})
      : await client.environments.routes({ params: { app: await context.app(), environment: context.environment } });
    output.table(
      [...(all ? ['APP'] : []), 'URL', 'MATCH', 'POLICY', 'ENTRYPOINT', 'INSTANCES'],
      items.map((route) => [
        ...(all ? [`${route.app}/${route.environment}`] : []),
        route.url,
        conditions(route),
        route.policy.join(', '),
        route.entrypoint,
        String(route.targets),
      ]),
    );
    output.value(items);
    return 0;
  },
};

const OUTCOMES = {
  found: '',
  ambiguous: 'is refused with 400',
  bad_request: 'is refused with 400',
  no_path: 'gets 404: no Route on this host covers it',
  no_host: 'gets 404: no Route has this host',
} as const;

export const routesExplain: Command = {
  summary: 'Tell which Route a request would take, and why the others would not. Nothing is sent.',
  details: 'The request is an URL or a line of curl in quotes, as a browser copies it.',
  example: `libra routes explain "curl -X POST -H 'x-beta: 1' http://shop.localhost:8080/api"`,
  arguments: [{ name: 'request', help: 'an URL, or a line of curl', required: false }],
  rest: 'a line of curl, without quotes around it',
  options: [{ name: 'from', value: 'address', help: 'address of the client; default 127.0.0.1' }],
  run: async (input, context) => {
    const { output } = context;
    const line = parseCurlLine(input.rest.length > 0 ? input.rest : (input.arguments['request'] ?? []));
    if (!line.ok)
      throw new Failure('invalid_input', {
        message: `The request cannot be read: ${line.message}.`,
        hint: `Such as: ${routesExplain.example ?? ''}`,
      });
    const { method, url, headers } = line.request;
    const host = headers.find(([name]) => name.toLowerCase() === 'host')?.[1] ?? url.host;
    const client = await context.client();
    const reply = await client.routes.explain({
      body: {
        method,
        target: `${url.pathname}${url.search}`,
        host,
        headers: headers.filter(([name]) => name.toLowerCase() !== 'host').map(([name, value]) => [name, value] as [string, string]),
        address: textOption(input, 'from') ?? '127.0.0.1',
      },
    });
    const { route, others, outcome, why } = reply;
    output.line(
      `${printable(method)} ${printable(host)}${printable(`${url.pathname}${url.search}`)} ${route === null ? OUTCOMES[outcome] : ''}`.trimEnd(),
    );
    if (why !== null) output.line(`  ${printable(why)}`);
    if (route !== null) {
      output.line(
        `  to     ${route.app}/${route.environment} ${route.entrypoint}, ${route.targets} ${route.targets === 1 ? 'Instance' : 'Instances'}`,
      );
      output.line(`  by     ${printable(placeText(route))}`);
      if (route.conditions.length > 0) output.line(`  since  ${printable(route.conditions.join(', '))}`);
      for (const text of route.policy) output.line(`  does   ${printable(text)}`);
    }
    if (others.length > 0) {
      output.line('');
      output.table(
        ['OTHER ROUTES OF ITS HOST', 'OF', 'NOT SINCE'],
        others.map(({ route: other, miss }) => [placeText(other), `${other.app}/${other.environment} ${other.entrypoint}`, miss]),
      );
    }
    output.value(reply);
    return route === null ? 1 : 0;
  },
};
