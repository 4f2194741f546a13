// `libra domains`: hosts and their certificates, and what a browser has to trust where they are the platform's own.

import type { Command } from '../command.ts';
import { formatAge } from '../output.ts';

export const domains: Command = {
  summary: 'List the hosts of all Routes, who issued their certificates, and how their orders stand.',
  example: 'libra domains',
  run: async (_input, context) => {
    const client = await context.client();
    const { items } = await client.domains.list({});
    context.output.table(
      ['HOST', 'STATE', 'ISSUER', 'ADDRESS', 'UNTIL', 'NEXT ORDER', 'REASON'],
      items.map(({ host, state, issuer, addresses, untilMs, orderAtMs, reason, onDemand }) => [
        host,
        onDemand ? `${state}, on demand` : state,
        issuer,
        addressText(addresses),
        untilMs === null ? '' : new Date(untilMs).toISOString().slice(0, 10),
        orderAtMs === null || state === 'ordering' ? '' : `in ${formatAge(Math.max(0, orderAtMs - context.clock.now()))}`,
        reason ?? '',
      ]),
    );
    context.output.value(items);
    return 0;
  },
};

function addressText(addresses: readonly string[] | null): string {
  const [first = '', ...more] = addresses ?? [];
  return more.length === 0 ? first : `${first} +${more.length}`;
}

export const domainsCheck: Command = {
  summary: 'Order the certificate of a host now, when its last order failed and the cause is mended.',
  example: 'libra domains check shop.example.com',
  arguments: [{ name: 'host', help: 'one of `libra domains`', required: true }],
  run: async (input, context) => {
    const client = await context.client();
    const reply = await client.domains.check({ body: { host: input.arguments['host']?.[0] ?? '' } });
    context.output.line(
      reply.ordered
        ? `${reply.host} is being ordered; \`libra domains\` says what came of it.`
        : `${reply.host} is in force or being ordered already: nothing to do.`,
    );
    context.output.value(reply);
    return 0;
  },
};

export const domainsCa: Command = {
  summary: "Print the certificate of the platform's own authority, for clients that shall trust it.",
  example: 'libra domains ca > libra-ca.pem',
  run: async (_input, context) => {
    const client = await context.client();
    const reply = await client.domains.authority({});
    context.output.line(reply.certificate.trimEnd());
    context.output.value(reply);
    return 0;
  },
};
